"""Residency: which models are in memory. Those that are used stay, within a budget of bytes."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt
import psutil

from modelworks.core.batch import Batch
from modelworks.models.predictor import Predictor, Streaming
from modelworks.serving.pieces import Here, Pieces

_LEAST = 40_000
"""Bytes that the smallest session of ONNX Runtime takes (measured)."""


@dataclass
class Counted:
    """What a residency has done since it was made.

    Attributes:
        bytes: Memory of the models that are loaded now.
        models: Their number.
        loads: How often one was loaded.
        load_seconds: How long that took, in all.
        evictions: How often one had to make room for another.
    """

    bytes: int = 0
    models: int = 0
    loads: int = 0
    load_seconds: float = 0.0
    evictions: int = 0


@runtime_checkable
class Elsewhere(Predictor, Protocol):
    """A predictor whose model is in another process."""

    def settle(self) -> int:
        """Have it there now; returns its memory in bytes."""
        ...

    def leave(self) -> None:
        """Let go of it there."""
        ...

    def stream(self, batch: Batch) -> Pieces:
        """Answer piece by piece."""
        ...


class Resident:
    """A predictor that is loaded when it is asked, and may be given up between two questions.

    Args:
        home: Where it lives.
        load: Loads it.

    Attributes:
        size: Its memory in bytes, as measured when it was first loaded; of one elsewhere, what it takes there; 0
            before that.
    """

    __slots__ = ("_load", "home", "predictor", "released", "settled", "size", "used")

    def __init__(self, home: Residency, load: Callable[[], Predictor]) -> None:
        self.home = home
        self.predictor: Predictor | None = None
        self.released = False
        self.settled = False
        self.used = False
        self.size = 0
        self._load = load

    def predict(self, batch: Batch) -> npt.NDArray[Any]:
        """See `Predictor.predict`.

        Raises:
            ModelworksError: it cannot be loaded.
        """
        self.used = True
        return (self.predictor or self.home.load(self)).predict(batch)

    def stream(self, batch: Batch) -> Pieces:
        """Answer piece by piece; only asked of what does so (see `Signature.streams`).

        Raises:
            ModelworksError: it cannot be loaded.
        """
        self.used = True
        predictor = self.predictor or self.home.load(self)
        if isinstance(predictor, Elsewhere):
            return predictor.stream(batch)
        assert isinstance(predictor, Streaming)
        return Here(predictor.stream(batch))


class Residency:
    """Room for models.

    Who has to go is found by the clock algorithm: a hand goes round, and takes the first that was not used since it
    last came by. A use costs one store, not a move in a list.

    Source: F. J. Corbató, "A paging experiment with the Multics system" (1968).

    Args:
        budget: Bytes that loaded models may take together, not counting the one that is being asked; 0 for any.
    """

    def __init__(self, budget: int = 0) -> None:
        self.budget = budget
        self.counted = Counted()
        self._ring: deque[Resident] = deque()
        self._lock = threading.Lock()

    @property
    def full(self) -> bool:
        """Whether another model would have to make room for the next one, if that is as large as they usually are."""
        counted = self.counted
        usual = counted.bytes // counted.models if counted.models else 0
        return bool(self.budget) and counted.bytes + usual > self.budget

    def load(self, resident: Resident) -> Predictor:
        """The model of a resident, loaded now if it was not.

        Raises:
            ModelworksError: it cannot be loaded.
        """
        predictor = self._load(resident)
        if isinstance(predictor, Elsewhere) and not resident.settled:
            self._settle(resident, predictor)
        return predictor

    def _settle(self, resident: Resident, predictor: Elsewhere) -> None:
        """Have a model in the process where it is answered: that takes its time, in which others go on."""
        begun = time.perf_counter()
        size = predictor.settle()
        with self._lock:
            self.counted.load_seconds += time.perf_counter() - begun
            resident.settled = True
            if resident.predictor is predictor:
                self.counted.bytes += max(size, _LEAST) - resident.size
                resident.size = max(size, _LEAST)
                self._make_room(resident)

    def _load(self, resident: Resident) -> Predictor:
        with self._lock:
            if resident.predictor is not None:  # another thread was faster
                return resident.predictor
            # The account takes the longer, the more was given up: it is asked once a model.
            begun, before = time.perf_counter(), 0 if resident.size else allocated()
            predictor = resident._load()
            counted = self.counted
            counted.loads += 1
            counted.load_seconds += time.perf_counter() - begun
            if resident.released:  # a request that began before a swap: nobody will ask again
                if isinstance(predictor, Elsewhere):
                    predictor.leave()
                return predictor
            resident.size = resident.size or max(allocated() - before, _LEAST)
            resident.predictor = predictor
            self._ring.append(resident)
            counted.bytes += resident.size
            counted.models += 1
            self._make_room(resident)
            return predictor

    def release(self, resident: Resident) -> None:
        """Nobody will ask it again."""
        with self._lock:
            resident.released = True
            if resident.predictor is not None:
                self._ring.remove(resident)
                self._give_up(resident)

    def _make_room(self, fresh: Resident) -> None:
        while 0 < self.budget < self.counted.bytes and len(self._ring) > 1:
            oldest = self._ring.popleft()
            if oldest is fresh or oldest.used:
                oldest.used = False
                self._ring.append(oldest)
                continue
            self._give_up(oldest)
            self.counted.evictions += 1

    def _give_up(self, resident: Resident) -> None:
        self.counted.bytes -= resident.size
        self.counted.models -= 1
        if isinstance(resident.predictor, Elsewhere):
            resident.predictor.leave()
        resident.predictor, resident.settled = None, False


class _Allocations(ctypes.Structure):
    """See ``mallinfo2(3)``."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
                     "fordblks", "keepcost")
    ]  # fmt: skip


def _found() -> Any:
    """The C library's own account of its memory, where it gives one (glibc 2.33 and newer)."""
    if sys.platform != "linux":
        return None
    account = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if account is not None:
        account.restype = _Allocations
    return account


_account = _found()


def allocated() -> int:
    """Bytes that this process has allocated, most of all by its models; elsewhere those that it has in memory."""
    if _account is None:
        return int(psutil.Process().memory_info().rss)
    told = _account()
    return int(told.uordblks + told.hblkhd)
