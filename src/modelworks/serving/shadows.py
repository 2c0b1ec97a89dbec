"""Silent answers of challengers: given in a thread, after the champion's have left, and logged as evidence."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from modelworks.core.clock import new_id
from modelworks.core.errors import ModelworksError
from modelworks.serving.spool import Entry, Spool
from modelworks.serving.target import Piece

_log = logging.getLogger("modelworks.serving")
_MOST = 2_000
"""Pieces that may wait; beyond it the newest are left out: a slow challenger costs neither memory nor time."""
_PATIENCE = 10.0


class _Waiting(NamedTuple):
    piece: Piece
    kind: int
    schema: bytes
    prefix: bytes
    body: bytes
    request: str
    origin: bytes


class Shadows:
    """Answers pieces beside the traffic.

    Args:
        spool: The prediction log.
    """

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.left_out = 0
        self._waiting: deque[_Waiting] = deque()
        self._news = threading.Condition()
        self._busy = self._closing = False
        self._thread: threading.Thread | None = None

    def add(
        self,
        pieces: Sequence[Piece],
        kind: int,
        body: bytes,
        schema: bytes,
        prefix: bytes,
        request: str,
        origin: bytes,
    ) -> None:
        """Answer pieces of a request that was answered, some time soon.

        Args:
            pieces: What challengers are to answer.
            kind: Of the request's entry in the log, as its `schema` and body.
            body: The request as it is logged.
            schema: See `Entry`.
            prefix: Of the logged answer.
            request: Its id.
            origin: Where it came from, as it is logged.
        """
        with self._news:
            for piece in pieces:
                if len(self._waiting) >= _MOST:
                    self.left_out += 1
                else:
                    self._waiting.append(_Waiting(piece, kind, schema, prefix, body, request, origin))
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="modelworks-shadows", daemon=True)
                self._thread.start()
            self._news.notify()

    def close(self) -> None:
        """Answer what waits, within some seconds, and end."""
        with self._news:
            self._closing = True
            self._news.notify()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def _loop(self) -> None:
        while True:
            with self._news:
                while not self._waiting and not self._closing:
                    self._news.wait()
                if not self._waiting:
                    return
                one = self._waiting.popleft()
            try:
                self.spool.append([_answered(one)])
            except ModelworksError as error:
                _log.warning("a silent answer could not be logged: %s", error)
            except Exception:
                _log.exception("a silent answer could not be given")


def _answered(one: _Waiting) -> Entry:
    piece = one.piece
    assert piece.rows is not None or piece.failure is None
    size = len(piece.rows) if piece.rows is not None else len(piece.numbers)
    rows = piece.rows if piece.rows is not None else list(range(size))
    fragments = [b"null"] * size
    begun = time.perf_counter()
    if piece.failure is None:
        try:
            found = piece.replica.fragments(piece.replica.predict(piece.numbers, piece.texts))
            if found is None or len(found) != size:
                piece.failure = "failed: it gives no finite number for these rows"
            else:
                fragments = found
        except Exception as error:
            piece.failure = f"failed: {error}"[:500]
        piece.seconds = time.perf_counter() - begun
    mine = new_id().encode()
    items = b",".join(
        [piece.replica.item(mine, row, text) for row, text in zip(rows, fragments, strict=True)]
    )
    notes = msgspec.json.encode([piece.note] * size)
    answer = b'%b%b],"rows":%b,"of":"%b","arms":%b}' % (
        one.prefix,
        items,
        msgspec.json.encode(rows),
        one.request.encode(),
        notes,
    )
    latency = time.perf_counter() - begun
    return Entry(one.kind, one.schema, time.time_ns() // 1000, one.body, answer, one.origin, latency)
