"""Pieces: what an answer is made of that comes bit by bit, wherever the model is."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Any, Protocol

import orjson

from modelworks.core.errors import Invalid
from modelworks.core.plain import NUMPY

Given = tuple[int, bytes]
"""The position of a row, and a piece of its answer as JSON."""


class Pieces(Protocol):
    """What comes of an answer, as it comes."""

    def __next__(self) -> list[Given]:
        """What has come; waits for it.

        Raises:
            StopIteration: that was all.
            ModelworksError: why nothing more comes.
        """
        ...

    def close(self) -> None:
        """Nothing more is wanted; may be said at any time, by any thread."""
        ...


class Here:
    """The pieces of a model in this process.

    Args:
        pieces: See `Streaming.stream`.
    """

    def __init__(self, pieces: Generator[tuple[int, Any], None, None]) -> None:
        self._pieces = pieces
        self._closed = False

    def __next__(self) -> list[Given]:
        place, piece = next(self._pieces)
        if self._closed:
            self.close()
            raise StopIteration
        return [(place, encoded(piece))]

    def close(self) -> None:
        """See `Pieces.close`: at the next piece, if just then one is worked out."""
        self._closed = True
        with suppress(ValueError):  # it runs
            self._pieces.close()


def joined(pieces: Sequence[bytes]) -> bytes:
    """The answer that pieces make, all as JSON: see `modelworks.models.predictor.whole`."""
    if all(piece[:1] == b'"' for piece in pieces):
        return b'"%b"' % b"".join([piece[1:-1] for piece in pieces])
    return b"[%b]" % b",".join(pieces)


def encoded(piece: Any) -> bytes:
    """A piece as JSON.

    Raises:
        Invalid: it cannot be that.
    """
    try:
        return orjson.dumps(piece, option=NUMPY)
    except TypeError as error:
        raise no_json(error) from error


def no_json(error: TypeError) -> Invalid:
    """The error for an answer that cannot be JSON."""
    return Invalid("the model gives what cannot be JSON", str(error), "roll back")
