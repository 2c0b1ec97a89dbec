"""Asking a replica: the rows of many requests at once, none of which spoils another's answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from modelworks.core.errors import Invalid, ModelworksError, Unfit
from modelworks.serving.input_guard import Odd
from modelworks.serving.native.pool import Died
from modelworks.serving.replica import Replica
from modelworks.serving.target import Piece

_log = logging.getLogger("modelworks.serving")


def ask(replica: Replica, pieces: list[Piece], again: bool = True) -> None:
    """Answer the pieces of one replica together; where that fails each alone, so that none spoils another."""
    begun = time.perf_counter()
    try:
        numbers: Any = (
            pieces[0].numbers if len(pieces) == 1 else [row for one in pieces for row in one.numbers]
        )
        texts: Any = pieces[0].texts if len(pieces) == 1 else [row for one in pieces for row in one.texts]
        guard = replica.guard
        if guard is not None and not (len(numbers) == 1 and guard.usual(numbers[0], texts[0])):
            numbers, texts = np.asarray(numbers, np.float32), np.asarray(texts, object)
            odd = guard.odd(numbers, texts)
            if odd is not None and (willing := guarded(pieces, odd)) != pieces:
                if willing:
                    ask(replica, willing)
                return
        outputs = replica.predict(numbers, texts)
        fragments = replica.fragments(outputs)
        if fragments is None or len(fragments) != len(numbers):
            raise _no_number(replica)
        seconds = time.perf_counter() - begun
        if len(pieces) == 1:
            piece = pieces[0]
            piece.outputs, piece.fragments, piece.seconds = outputs, fragments, seconds
            return
        start = 0
        for piece in pieces:
            end = start + len(piece.numbers)
            piece.outputs, piece.fragments = outputs[start:end], fragments[start:end]
            piece.seconds = seconds
            start = end
    except Exception as error:
        # A worker process that died takes its rows with it: each is asked once more, alone.
        died = again and isinstance(error, Died)
        if len(pieces) == 1 and not died:
            pieces[0].error = error if isinstance(error, ModelworksError) else _broken(replica, error)
        else:
            for piece in pieces:
                ask(replica, [piece], again=not died)


def guarded(pieces: list[Piece], odd: Sequence[Odd]) -> list[Piece]:
    """Note what is odd with the pieces that it is in; gives those that nothing was refused of."""
    rows: dict[int, list[Odd]] = {}
    for one in odd:
        rows.setdefault(one.row, []).append(one)
    willing, start = [], 0
    for piece in pieces:
        mine = {at - start: rows[at] for at in range(start, start + len(piece.numbers)) if at in rows}
        start += len(piece.numbers)
        refused = [one.told(row) for row, some in mine.items() for one in some if one.refused]
        if refused:
            piece.error = Unfit(refused)
        else:
            piece.odd = mine
            willing.append(piece)
    return willing


def _broken(replica: Replica, error: Exception) -> ModelworksError:
    _log.error("%s gives what cannot be read", replica.ref, exc_info=None if replica.discreet else error)
    why = type(error).__name__ if replica.discreet else str(error)
    return ModelworksError(f"{replica.ref} gives what cannot be read", why, "roll back")


def _no_number(replica: Replica) -> Invalid:
    return Invalid(
        f"{replica.ref} gives no finite number for these rows",
        "it was not made for their missing or extreme values",
        "send the missing values, or train a model that imputes them",
    )
