"""Rows on their way to the workers: one uncompressed Arrow file that every worker maps into its memory.

A column is stored so that a range of it is a NumPy view: nothing is decoded, nothing is copied until the
rows of one segment become the frame that its fit sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from blake3 import blake3

from modelworks.core.errors import Invalid
from modelworks.jobs.executors import shared
from modelworks.train.segments import TARGET, TIME

if TYPE_CHECKING:
    import pandas as pd

Form = Literal["number", "bool", "time", "text"]
SUM = "::sum"
"""Column of a number for each row that stands for its values."""
_NAT = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Stored:
    """Where the rows are, and how to read them.

    Attributes:
        path: The Arrow file.
        forms: How each column is stored.
        texts: The values that the codes of a text column stand for.
    """

    path: Path
    forms: Mapping[str, Form]
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)


def write(frame: pl.DataFrame, path: Path, summed: Sequence[str] = ()) -> Stored:
    """Write `frame` for `Columns`, and beside it, as `SUM`, what `digest` needs of the columns `summed`.

    Missing numbers become NaN (an integer or boolean column that has any becomes float64 in every segment,
    so that all segments of a model see the same types), missing texts ``""``, missing times NaT.

    Raises:
        Invalid: a column holds neither numbers, booleans, times nor texts.
    """
    forms: dict[str, Form] = {}
    texts: dict[str, Sequence[str]] = {}
    columns: list[pl.Series] = []
    for column in frame.iter_columns():
        name, kind = column.name, column.dtype
        if kind in (pl.String, pl.Categorical, pl.Enum):
            column = column.cast(pl.String).fill_null("")
            texts[name] = column.unique().sort().to_list()
            column = column.cast(pl.Enum(texts[name])).to_physical().cast(pl.UInt32)
            forms[name] = "text"
        elif kind.is_temporal() and kind not in (pl.Time, pl.Duration):
            column = column.dt.epoch("us").fill_null(_NAT)
            forms[name] = "time"
        elif kind == pl.Boolean and not column.null_count():
            column = column.cast(pl.UInt8)
            forms[name] = "bool"
        elif kind == pl.Boolean or kind.is_numeric():
            if column.null_count() or kind == pl.Boolean or kind.is_decimal():
                column = column.cast(pl.Float32 if kind == pl.Float32 else pl.Float64).fill_null(np.nan)
            if column.dtype == pl.Float64:
                # Serving is float32: a tree's threshold must not lie between a value and its float32 form.
                column = column.cast(pl.Float32).cast(pl.Float64)
            forms[name] = "number"
        else:
            raise Invalid(
                f"column {name!r} cannot be learned from",
                f"its type is {kind}",
                "use numbers, booleans, times or texts",
            )
        columns.append(column)
    if summed:
        by_name = {column.name: column for column in columns}
        columns.append(pl.Series(SUM, _sums({name: by_name[name] for name in summed}, texts)))
        forms[SUM] = "number"
    # One record batch, so that one array a column covers every row.
    batch = pa.record_batch(
        [column.to_arrow() for column in columns], names=[column.name for column in columns]
    )
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return Stored(path, forms, texts)


def kinds(stored: Stored) -> dict[str, str]:
    """The type of each column that is not text, as Arrow calls it."""
    schema = pa.ipc.open_file(pa.memory_map(str(stored.path))).schema
    return {
        field.name: str(field.type)
        for field in schema
        if stored.forms[field.name] != "text" and field.name != SUM
    }


class Columns:
    """The columns of a file that `write` made, mapped into memory."""

    def __init__(self, stored: Stored) -> None:
        batch = pa.ipc.open_file(shared.buffer(stored.path)).get_batch(0)
        self.forms = stored.forms
        self.raw: dict[str, npt.NDArray[Any]] = {
            name: batch.column(name).to_numpy(zero_copy_only=True) for name in stored.forms
        }
        self.texts = {name: np.array(values, dtype=object) for name, values in stored.texts.items()}

    def __contains__(self, name: str) -> bool:
        return name in self.raw

    def values(self, name: str, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """One column: numbers as they are, bool, datetime64[us], or object (str), shape (rows,)."""
        raw = self.raw[name][rows]
        match self.forms[name]:
            case "text":
                return self.texts[name].take(raw)
            case "bool":
                return raw.astype(bool)
            case "time":
                return raw.astype("datetime64[us]")
        return raw


def to_frame(values: Mapping[str, npt.NDArray[Any]]) -> pd.DataFrame:
    """Columns as the frame that a fit sees; texts are of dtype object whatever pandas prefers."""
    import pandas as pd

    numbers = [column for column in values.values() if column.dtype == np.float64]
    texts = [(place, column) for place, column in enumerate(values.values()) if column.dtype == object]
    if numbers and len(numbers) + len(texts) == len(values):
        # The usual case: one block of numbers, the texts put between its columns; half the work of the other way.
        block = np.stack(numbers)
        frame = pd.DataFrame(block.T, copy=False)
        for place, column in texts:
            frame.insert(place, -1 - place, pd.Series(column, dtype=object))
    else:
        frame = pd.DataFrame(
            {
                name: pd.Series(column, dtype=object) if column.dtype == object else column
                for name, column in values.items()
            }
        )
    frame.columns = _index(tuple(values))
    return frame


@lru_cache(maxsize=256)
def _index(names: tuple[str, ...]) -> pd.Index[Any]:
    """A plain index of names, the same for every segment: pandas' own one for text costs a tenth of a small fit."""
    import pandas as pd

    return pd.Index(list(names), dtype=object)


def learned_from(features: Sequence[str]) -> list[str]:
    """The columns that make a model what it is."""
    return [*features, TARGET, TIME]


def _sums(columns: Mapping[str, pl.Series], texts: Mapping[str, Sequence[str]]) -> npt.NDArray[np.uint64]:
    """A number for each row that is another one where any of its values is, shape (rows,).

    It says by which rows a model was made, at the cost of a few nanoseconds a value; it is not made to withstand
    somebody who looks for other rows with the same number: the digests of files are.

    Source of the mixing: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (2014).
    """
    sums = np.zeros(len(next(iter(columns.values()))), np.uint64)
    for name, column in columns.items():
        seed = _number(name)
        if name in texts:
            values = np.array([_number(text) for text in texts[name]] or [0], np.uint64)[column.to_numpy()]
        elif column.dtype.is_float():
            values = column.cast(pl.Float64).to_numpy().view(np.uint64).copy()
        else:
            values = column.cast(pl.Int64).to_numpy().view(np.uint64).copy()
        values ^= np.uint64(seed)
        values *= np.uint64(0xBF58476D1CE4E5B9)
        values ^= values >> np.uint64(31)
        values *= np.uint64(0x94D049BB133111EB)
        sums += values
    return sums


def _number(text: str) -> int:
    return int.from_bytes(blake3(text.encode()).digest(8), "little")


def digest(columns: Columns, rows: npt.NDArray[np.int64]) -> str:
    """Digest of some rows, in their order; ``""`` where `write` was not told what to sum up."""
    return blake3(columns.raw[SUM][rows].tobytes()).hexdigest() if SUM in columns else ""


_held: dict[Path, Columns] = {}


def opened(stored: Stored) -> Columns:
    """The columns of a file, mapped once in this process; those of the file before are let go."""
    if stored.path not in _held:
        _held.clear()
        _held[stored.path] = Columns(stored)
    return _held[stored.path]
