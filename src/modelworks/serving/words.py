"""The answers of a request in its own order, whichever replicas have given them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from modelworks.serving.input_guard import flags
from modelworks.serving.target import Job

T = TypeVar("T")


def predictions(job: Job, request: bytes) -> bytes:
    """The answered rows as JSON, in the request's order, without the brackets."""
    if job.size == 1:
        piece = job.pieces[0]
        if not piece.odd:
            return piece.replica.item(request, 0, piece.fragments[0])
    elif len(job.pieces) == 1 and not job.pieces[0].odd:
        piece = job.pieces[0]
        return b",".join([piece.replica.item(request, n, text) for n, text in enumerate(piece.fragments)])
    items = [b""] * job.size
    for piece in job.pieces:
        for place, row in enumerate(piece.rows or range(job.size)):
            item = piece.replica.item(request, row, piece.fragments[place])
            said = piece.odd.get(place) if piece.odd else None
            items[row] = b'%b,"flags":%b}' % (item[:-1], flags(said)) if said else item
    return b",".join(items)


def texts(job: Job) -> list[str]:
    """The answered rows as JSON texts, in the request's order."""
    rows = [""] * job.size
    for piece in job.pieces:
        for row, fragment in zip(piece.rows or range(job.size), piece.fragments, strict=True):
            rows[row] = fragment.decode()
    return rows


def spread(job: Job, values: Sequence[T]) -> list[T]:
    """A value a piece as a value a row."""
    if len(job.pieces) == 1:
        return [values[0]] * job.size
    rows = [values[0]] * job.size
    for piece, value in zip(job.pieces, values, strict=True):
        for row in piece.rows or ():
            rows[row] = value
    return rows
