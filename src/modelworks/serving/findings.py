"""What the input guard found in a request, by the positions of its rows there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from modelworks.core.errors import ModelworksError, Unfit
from modelworks.serving.target import Job


def refusal(job: Job) -> ModelworksError | None:
    """Why a request cannot be answered: all that is wrong with its rows, or the first other reason."""
    errors = [(piece, piece.error) for piece in job.pieces if piece.error is not None]
    values = [
        replace(value, row=piece.rows[value.row] if piece.rows else value.row)
        for piece, error in errors
        if isinstance(error, Unfit)
        for value in error.values
    ]
    if values and all(isinstance(error, Unfit) for _, error in errors):
        return Unfit(sorted(values, key=lambda one: one.row))
    return errors[0][1] if errors else None


def oddities(job: Job) -> list[dict[str, Any]]:
    """What is odd of the rows of a request, in its order."""
    found = [
        {"row": piece.rows[place] if piece.rows else place, "column": one.column, "kind": one.kind}
        for piece in job.pieces
        for place, said in (piece.odd or {}).items()
        for one in said
    ]
    return sorted(found, key=lambda one: int(one["row"]))
