"""A worker process kept for the models of one flavor: started when it is needed, and again whenever it has ended."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from modelworks.core.batch import Batch
from modelworks.core.clock import new_id
from modelworks.core.errors import Invalid, ModelworksError, NotReady, Unavailable
from modelworks.models.signature import Signature
from modelworks.serving.native import wire
from modelworks.serving.native.process import Process
from modelworks.serving.native.streamed import Streamed
from modelworks.serving.pieces import Pieces

_log = logging.getLogger("modelworks.serving")

_YOUNG = 2.0
"""Seconds: a worker that does not live longer after it has begun to answer was killed by what it was asked."""
_STRIKES = 3
_PAUSE = 5.0
_LONGEST = 300.0
_BACK_OFF = 0.5
_KINDS: dict[str, type[ModelworksError]] = {"invalid": Invalid, "not_ready": NotReady}


class Died(NotReady):
    """The worker process ended in the middle of the call: the rows may be asked once more."""


@dataclass(frozen=True)
class Limits:
    """What a worker process may take.

    Attributes:
        memory: Bytes; it is started again when it has more.
        seconds: For one call; it is ended when it takes longer.
    """

    memory: int
    seconds: float = 30.0


@dataclass
class Counted:
    """What happened to the worker of a pool.

    Attributes:
        starts: How often one was started.
        crashes: How often one ended by itself, or was ended in the middle of a call.
        grown: How often one was started again since it had too much memory.
    """

    starts: int = 0
    crashes: int = 0
    grown: int = 0


class Apart:
    """A model in a worker process; a `Predictor`.

    Args:
        pool: Asks it.
        name: How people know it.
        content: Reads the stored model.
        signature: What it takes and gives.
        spend: Called with the seconds of the processor that it took.

    Attributes:
        key: Its name in the worker.
        strikes: How many workers in a row it has killed young.
        lock: Held while it is loaded, asked or let go of.
        paused: The time, by the monotonic clock, until which it is not asked.
    """

    def __init__(
        self,
        pool: Pool,
        name: str,
        content: Callable[[], bytes],
        signature: Signature,
        spend: Callable[[float], None],
    ) -> None:
        self.pool = pool
        self.name = name
        self.content = content
        self.signature = signature
        self.spend = spend
        self.key = new_id()
        self.strikes = 0
        self.paused = 0.0
        self.reason = ""
        self.left = False
        self.lock = threading.RLock()
        self._pause = _PAUSE

    def predict(self, batch: Batch) -> npt.NDArray[Any]:
        """See `Predictor.predict`.

        Raises:
            Died: its worker ended in the middle of it.
            NotReady: it is not asked just now, or cannot be loaded.
            Unavailable: it fails on these rows.
        """
        if self.left:  # a question that began before a swap
            self.pool.left.append(self)
        outputs: npt.NDArray[Any] = wire.outputs(
            *self.pool.ask(self, [wire.ASK, self.key, *wire.rows(batch)])
        )
        return outputs

    def stream(self, batch: Batch) -> Pieces:
        """Answer the rows of a batch piece by piece; raises as `predict` does, also in the middle."""
        if self.left:
            self.pool.left.append(self)
        return self.pool.stream(self, [wire.STREAM, self.key, *wire.rows(batch)])

    def settle(self) -> int:
        """Have it in its worker now; returns its memory in bytes.

        Raises:
            NotReady: it cannot be loaded.
        """
        return self.pool.have(self)

    def leave(self) -> None:
        """Nobody asks it any more; a late question still gets its answer."""
        self.left = True
        self.pool.left.append(self)

    def struck(self, reason: str, lived: float) -> None:
        """It has killed a worker that had lived for some seconds."""
        if lived >= _YOUNG:
            self._pause = _PAUSE
        self.strikes = self.strikes + 1 if lived < _YOUNG else 1
        if self.strikes >= _STRIKES:
            self.paused, self.reason = time.monotonic() + self._pause, reason
            _log.error(
                "%s is not asked for %g s: its worker ends again and again: %s",
                self.name,
                self._pause,
                reason,
            )
            self._pause = min(2 * self._pause, _LONGEST)
            self.strikes = _STRIKES - 1  # one more begins the next pause


class Pool:
    """See the module.

    Args:
        flavor: Of its models.
        exe: The worker's interpreter; ``None`` for this one.
        limits: Of the worker.
    """

    def __init__(self, flavor: str, exe: Path | None, limits: Limits) -> None:
        self.flavor = flavor
        self.exe = exe
        self.limits = limits
        self.counted = Counted()
        self.left: deque[Apart] = deque()
        self._struck: set[Apart] = set()
        self.name = flavor if exe is None else f"{flavor}@{exe.parents[1].name}"
        self._lock = threading.Lock()
        self._process: Process | None = None
        self._wait = 0.0
        self._not_before = 0.0
        self._closed = False

    # -- what models ask ---------------------------------------------------------------------------------

    def ask(self, model: Apart, message: Sequence[Any]) -> Any:
        """Ask a model something; it is loaded where it is not there.

        Raises:
            Died: the worker ended in the middle of it.
            NotReady: the model is not asked just now, or cannot be loaded.
            Unavailable: the model fails on it.
        """
        with model.lock:
            process = self._ready(model)
            if model.key not in process.loaded:
                self._load(process, model)
            answer = self._talk(process, model, message)
        if size := process.grown():
            self._retire(process, f"it has grown to {size:,} bytes")
        if self.left:
            self.drop()
        return answer

    def stream(self, model: Apart, message: Sequence[Any]) -> Pieces:
        """Ask a model for something that comes piece by piece; others are asked meanwhile.

        Raises:
            Died: the worker ended; as `ask` otherwise.
        """
        with model.lock:
            process = self._ready(model)
            if model.key not in process.loaded:
                self._load(process, model)
            return Streamed(
                process,
                message,
                self.limits.seconds,
                model,
                lambda error: self._died(process, error, model),
                partial(_refusal, model),
            )

    def have(self, model: Apart) -> int:
        """See `Apart.settle`."""
        with model.lock:
            return self._load(self._ready(model), model)

    def drop(self) -> None:
        """Let go of the models that nobody asks any more."""
        for _ in range(len(self.left)):
            try:
                model = self.left.popleft()
            except IndexError:  # another thread does it
                return
            if not model.lock.acquire(blocking=False):  # it is just being asked
                self.left.append(model)
                continue
            try:
                process = self._process
                if process is not None and model.key in process.loaded:
                    process.loaded.discard(model.key)
                    with suppress(ModelworksError):
                        self._talk(process, model, [wire.DROP, model.key])
            finally:
                model.lock.release()

    # -- the worker --------------------------------------------------------------------------------------

    def tend(self) -> None:
        """Start the worker again if it has ended by itself, so that the next caller does not have to wait."""
        self.drop()
        process = self._process
        if process is not None and not process.alive:
            self._lost(process, process.reason())
            with suppress(NotReady):
                self._running()

    def paused(self) -> list[tuple[str, float]]:
        """The models that are not asked just now, by name, and for how many seconds."""
        now = time.monotonic()
        self._struck = {model for model in self._struck if model.paused > now}
        return sorted((model.name, model.paused - now) for model in self._struck)

    @property
    def worker(self) -> Process | None:
        """The worker, if one runs."""
        process = self._process
        return process if process is not None and process.alive else None

    def close(self) -> None:
        """End the worker, and start none any more."""
        with self._lock:
            self._closed = True
            process, self._process = self._process, None
        if process is not None:
            process.retired = "the server ends"
            process.kill()

    def _ready(self, model: Apart) -> Process:
        """A worker that may be asked about a model."""
        left = model.paused - time.monotonic()
        if left > 0:
            raise NotReady(
                f"{model.name} is not asked for another {left:.0f} s",
                f"it ended its worker process again and again: {model.reason}",
                "roll back, or correct the model",
            )
        return self._running()

    def _running(self) -> Process:
        with self._lock:
            if self._closed:
                raise NotReady("the server ends", "", "ask another one")
            if self._process is None:
                left = self._not_before - time.monotonic()
                if left > 0:
                    raise NotReady(
                        f"the worker process for {self.name} does not start",
                        f"it is tried again in {left:.1f} s",
                        "see the server's log",
                    )
                self._process = Process(self.flavor, self.exe, self.limits.memory)
                self.counted.starts += 1
            return self._process

    def _load(self, process: Process, model: Apart) -> int:
        signature = json.dumps(model.signature.to_json())
        size: int = self._talk(process, model, [wire.LOAD, model.key, model.content(), signature], load=True)
        process.loaded.add(model.key)
        return size

    def _talk(self, process: Process, model: Apart, message: Sequence[Any], load: bool = False) -> Any:
        line = process.loads if load else process.asks
        try:
            kind, *content = process.call(line, model, message, self.limits.seconds * (4 if load else 1))
        except wire.Gone as error:
            raise self._died(process, error, model) from error
        if kind == wire.DONE:
            return content[0]
        raise _refusal(model, kind, content)

    def _died(self, process: Process, error: wire.Gone, model: Apart) -> Died:
        """A worker has ended in the middle of an answer."""
        self._lost(process, str(error), model)
        return Died(
            f"{model.name} gives no answer: its worker process has ended",
            str(error),
            "correct the rows, or roll back",
        )

    def _lost(self, process: Process, reason: str, model: Apart | None = None) -> None:
        """A worker has ended: find out who is to blame, and how soon the next may be started."""
        with self._lock:
            if self._process is not process:
                return
            self._process = None
            lived = 0.0 if process.born is None else time.monotonic() - process.born
            self._wait = 0.0 if process.born is not None else min(max(2 * self._wait, _BACK_OFF), 30.0)
            self._not_before = time.monotonic() + self._wait
            self.counted.crashes += 1
        # What is being loaded is what is new.
        about: Apart | None = process.loads.about or process.asks.about or model
        if about is not None:
            about.spend(process.untold())
        process.kill()
        _log.error("the worker process for %s has ended: %s", self.name, reason)
        if about is not None and process.born is not None:
            about.struck(reason, lived)
            self._struck = {*self._struck, about}

    def _retire(self, process: Process, reason: str) -> None:
        """End a worker between two calls; the next caller starts another."""
        with self._lock:
            if self._process is not process:
                return
            self._process = None
            self.counted.grown += 1
        _log.warning("the worker process for %s is started again: %s", self.name, reason)
        process.retire(reason)


def _refusal(model: Apart, kind: int, content: Sequence[Any]) -> ModelworksError:
    """What a worker says instead of an answer."""
    if kind == wire.ERROR:
        code, *told = content
        return _KINDS.get(code, Unavailable)(*told)
    name, text = content
    return Unavailable(
        f"{model.name} failed on this input", f"{name}: {text}", "correct the rows, or roll back"
    )
