"""The inputs of predictions as the log holds them, read into arrays."""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from modelworks.core.batch import Batch
from modelworks.models.signature import Task

Layout = tuple[tuple[str, ...], tuple[str, ...], Task]
"""What versions must share to be read together: numbers, texts, task."""


def batch_of(inputs: pl.Series, layout: Layout, unseen: frozenset[str] = frozenset()) -> Batch:
    """Logged inputs, JSON texts, in a layout; what is not there, of another kind, or `unseen`, is missing."""
    numbers, texts = ([name for name in names if name not in unseen] for names in layout[:2])
    plain = _plain(inputs, numbers, texts)
    if plain is None:
        found, words = _odd(inputs, numbers, texts)
    else:
        # A frame without columns has no rows.
        found = plain.select(numbers).to_numpy() if numbers else np.empty((len(inputs), 0))
        words = [plain[name].fill_null("").to_list() for name in texts]
    batch = Batch(
        np.full((len(inputs), len(layout[0])), np.nan, np.float32),
        np.full((len(inputs), len(layout[1])), "", dtype=object),
    )
    with np.errstate(over="ignore"):  # beyond single precision is infinite
        batch.numbers[:, [layout[0].index(name) for name in numbers]] = found.astype(np.float32)
    for name, values in zip(texts, words, strict=True):
        batch.texts[:, layout[1].index(name)] = values
    return batch


def _plain(inputs: pl.Series, numbers: Sequence[str], texts: Sequence[str]) -> pl.DataFrame | None:
    """Inputs as columns, read by all cores; ``None`` where the reader would give something else than is there.

    It takes no truth values for numbers, but numbers for texts, and every line for a row.
    """
    if not (numbers or texts) or not len(inputs) or inputs.null_count():
        return None
    named = "|".join(map(re.escape, texts)) or "$"
    if inputs.str.contains(rf'[\n\r]|true|false|\\u|"(?:{named})"\s*:\s*[^"n\s]').any():
        return None
    kinds: dict[str, type[pl.DataType]] = dict.fromkeys(numbers, pl.Float64)
    try:
        found = pl.read_ndjson(
            inputs.str.join("\n")[0].encode(),
            schema=kinds | dict.fromkeys(texts, pl.String),
            ignore_errors=True,
        )
    except pl.exceptions.PolarsError:
        return None
    return found if len(found) == len(inputs) else None


def _odd(
    inputs: pl.Series, numbers: Sequence[str], texts: Sequence[str]
) -> tuple[npt.NDArray[np.float64], list[list[str]]]:
    """Numbers, shape (rows, numbers), and the values of each text; row by row, whatever they hold."""
    rows = _decoded(inputs, numbers, texts)
    values = np.full((len(rows), len(numbers)), np.nan)
    if rows and numbers:
        columns = attrgetter(*(f"n{place}" for place in range(len(numbers))))
        values[:] = np.array(list(map(columns, rows)), np.float64).reshape(len(rows), -1)
    return values, [list(map(attrgetter(f"t{place}"), rows)) for place in range(len(texts))]


def _decoded(inputs: pl.Series, numbers: Sequence[str], texts: Sequence[str]) -> list[Any]:
    """A row as an object each: numbers as n0, n1, ..., texts as t0, t1, ..."""
    named = {f"n{place}": name for place, name in enumerate(numbers)}
    worded = {f"t{place}": name for place, name in enumerate(texts)}
    fields: list[tuple[str, Any, Any]] = [(field, float | bool | None, None) for field in named]
    fields += [(field, str, "") for field in worded]
    row = msgspec.defstruct("Row", fields, rename=named | worded, gc=False)
    decode = msgspec.json.Decoder(row).decode
    rows = []
    for text in inputs:
        try:
            rows.append(decode(text))
        except (msgspec.DecodeError, TypeError):  # a value of another kind costs itself alone
            fit = _fitting(text or "", numbers, texts)
            rows.append(row(**{field: fit[name] for field, name in (named | worded).items() if name in fit}))
    return rows


def _fitting(text: str, numbers: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    try:
        row = orjson.loads(text)
    except orjson.JSONDecodeError:
        row = None
    if not isinstance(row, dict):
        return {}
    fit = {name: float(row[name]) for name in numbers if isinstance(row.get(name), (int, float))}
    return fit | {name: row[name] for name in texts if isinstance(row.get(name), str)}
