"""A stream: one request that is answered piece by piece, and logged as a whole before its end is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

import numpy as np

from modelworks.core.errors import ModelworksError, TooLarge
from modelworks.serving.asking import ask, guarded
from modelworks.serving.data_plane import DataPlane, Request
from modelworks.serving.input_guard import Odd
from modelworks.serving.native.pool import Died
from modelworks.serving.pieces import Given, joined
from modelworks.serving.replica import Replica
from modelworks.serving.standby import stand_in
from modelworks.serving.target import Piece


class Stream:
    """One request. One thread at a time begins, takes and finishes; any may stop it.

    Until the first piece is there, everything is as for a request that is answered at once: rows are routed, guarded
    and divided, and the champion stands in for a challenger that fails. What a model that does not stream answers is
    one piece a row.

    Args:
        plane: Answers and logs.
        request: See `Request`.
    """

    def __init__(self, plane: DataPlane, request: Request) -> None:
        self.plane = plane
        self._request = request
        self._lock = threading.Lock()
        self._over = False
        self._at = 0
        self._size = 0
        self._pieces: Sequence[Piece] = ()
        self._given: dict[int, dict[int, list[bytes]]] = {}

    def begin(self) -> list[Given]:
        """Read the request, ask for its rows, and give what comes first, as `take` does.

        Raises:
            ModelworksError: it cannot be answered.
        """
        self.asked = self.plane.begin(self._request)
        job = self.asked.job
        self._pieces = job.pieces
        for piece in job.pieces:
            _ask(piece.replica, [piece])
        if job.divided:
            stand_in([job], _ask)
        if self._over:  # nobody waited for it
            self.stop()
        for piece in job.pieces:
            if piece.error is not None:
                self.stop()
                self.plane.keep(self.asked)  # tells the error as that of any other request
        return self.take()

    def take(self) -> list[Given]:
        """What has come, by row: waits for it; nothing at the end.

        Raises:
            ModelworksError: why nothing more comes.
        """
        while self._at < len(self._pieces) and not self._over:
            piece = self._pieces[self._at]
            some, piece.first = piece.first, []
            try:
                if not some and piece.coming is not None:
                    some = next(piece.coming, [])
                self._size += sum(len(text) for _, text in some)
                if self._size > self.plane.max_body:
                    raise _too_long(self.plane.max_body)
            except Exception as error:
                raise self._failed(piece, error) from error
            with self._lock:
                if self._over:
                    break
                if not some:
                    self._at += 1
                    continue
                mine = self._given.setdefault(self._at, {})
                for place, text in some:
                    mine.setdefault(place, []).append(text)
            return [(place if piece.rows is None else piece.rows[place], text) for place, text in some]
        return []

    def finish(self) -> bytes:
        """The whole answer, as it would have been given at once; when this returns, it is in the log.

        Raises:
            ModelworksError: the log cannot be written.
        """
        with self._lock:
            self._over = True
            for at, piece in enumerate(self._pieces):
                _whole(piece, self._given.get(at, {}))
        return self.plane.keep(self.asked)

    def cut(self) -> None:
        """End it here: what was given is logged, the rows that were not given to their end with a flag.

        Raises:
            ModelworksError: the log cannot be written.
        """
        with self._lock:
            if self._over:
                return
            self._over = True
            some = bool(self._given)
            for at, piece in enumerate(self._pieces if some else ()):
                (_whole if at < self._at else _cut)(piece, self._given.get(at, {}))
        self.stop()
        if some:
            self.asked.job.cut = True
            self.plane.keep(self.asked)

    def stop(self) -> None:
        """Nothing more is wanted of its models."""
        for piece in self._pieces:
            if piece.coming is not None:
                piece.coming.close()

    def _failed(self, piece: Piece, error: Exception) -> ModelworksError:
        """A model failed in the middle: nobody can stand in for it any more."""
        told = piece.replica.failed(error)
        if piece.trial is not None and piece.arm == "challenger":
            piece.failure = f"failed: {told}"[:500]
            piece.trial.breaker.told(True)
        return self.plane.refused(self.asked.target, told)


def _ask(replica: Replica, pieces: Sequence[Piece]) -> None:
    """Answer the pieces of one replica, or begin to: what comes first is waited for."""
    for piece in pieces:
        begun = time.perf_counter()
        if not replica.streams:
            ask(replica, [piece])
            piece.first = list(enumerate(piece.fragments))
            continue
        try:
            if not _odd(replica, piece):
                _begin(replica, piece)
        except Exception as error:
            piece.error = replica.failed(error)
        piece.seconds = time.perf_counter() - begun


def _odd(replica: Replica, piece: Piece) -> bool:
    """Whether the input guard refuses it."""
    if replica.guard is None:
        return False
    odd = replica.guard.odd(np.asarray(piece.numbers, np.float32), np.asarray(piece.texts, object))
    return odd is not None and not guarded([piece], odd)


def _begin(replica: Replica, piece: Piece, again: bool = True) -> None:
    try:
        piece.coming = replica.stream(piece.numbers, piece.texts)
        piece.first = next(piece.coming, [])
    except Died:
        if not again:
            raise
        _begin(replica, piece, again=False)  # as rows that are answered at once are asked once more


def _whole(piece: Piece, given: Mapping[int, Sequence[bytes]]) -> None:
    """What its rows were answered, all of it."""
    if piece.coming is not None:
        piece.fragments = [joined(given.get(place, ())) for place in range(len(piece.numbers))]


def _cut(piece: Piece, given: Mapping[int, Sequence[bytes]]) -> None:
    """What its rows were answered so far: the last one, and those behind it, were not given to their end."""
    rows = range(len(piece.numbers))
    if piece.coming is None:
        first = len(given)
        piece.fragments = [piece.fragments[place] if place in given else b"null" for place in rows]
    else:
        first = max(given, default=0)
        piece.fragments = [joined(given[place]) if place in given else b"null" for place in rows]
    odd = dict(piece.odd or {})
    for place in rows[first:]:
        odd[place] = [*odd.get(place, ()), Odd(place, "output", "cut", refused=False)]
    piece.odd = odd


def _too_long(limit: int) -> TooLarge:
    return TooLarge(
        "the answer is too long", f"the limit is {limit} bytes", "ask for less, or raise server.max_body"
    )
