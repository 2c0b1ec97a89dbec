"""Batch scoring: frames answered by whole columns, each row as the server would answer it alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from modelworks.core.batch import Batch
from modelworks.core.errors import Invalid, ModelworksError
from modelworks.core.ref import Segment, segment_text
from modelworks.core.schema import Field, Kind
from modelworks.data.contract import as_typed
from modelworks.models.package import Package
from modelworks.models.predictor import Predictor
from modelworks.models.signature import Signature
from modelworks.serving.columns import as_text
from modelworks.serving.input_guard import Guard, Odd, flags
from modelworks.serving.replica import Replica
from modelworks.serving.residency import Residency, Resident
from modelworks.serving.scoring import Scoring

_MEMORY = 1024**3
"""Bytes that the models of one worker may take."""
_MOST = float(np.finfo(np.float32).max)
_FITS: dict[Kind, Callable[[Any], bool]] = {
    Kind.NUMBER: lambda held: held.is_numeric() or held == pl.String,
    Kind.TEXT: lambda held: held in (pl.String, pl.Categorical, pl.Enum),
    Kind.BOOL: lambda held: held in (pl.Boolean, pl.String),
    Kind.TIME: lambda held: held.is_temporal() or held == pl.String,
}
_WORDS = {Kind.NUMBER: "numbers", Kind.TEXT: "text", Kind.BOOL: "true or false", Kind.TIME: "times"}
Places = npt.NDArray[np.intp]
"""Positions of rows."""
Refusal = tuple[str, npt.NDArray[np.bool_]]
"""Why rows cannot be answered, and which."""


@dataclass
class Scorer:
    """Answers frames; a version is loaded when a row needs it, and makes room for others when memory is short.

    Args:
        scoring: What answers.
        load: Loads a package.
        guard: Gives the guard of a package.
    """

    scoring: Scoring
    load: Callable[[Package], Predictor]
    guard: Callable[[Package], Guard | None] = lambda _package: None
    _replicas: dict[Segment, Replica] = field(default_factory=dict)
    _home: Residency = field(default_factory=lambda: Residency(_MEMORY))

    def answer(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Answer every row.

        Args:
            rows: With the columns `Scoring.inputs`; others are ignored.

        Returns:
            Columns of `Scoring.schema`, a row a row. A row that cannot be answered has an ``error``, which says
            why, and null for all else.

        Raises:
            Invalid: a column is not there, or holds another kind of values in all rows.
        """
        columns = _Columns(rows, self.scoring.nullable)
        told = _Told(self.scoring, len(rows))
        for segment, at in self._routes(columns, told):
            takes = self.scoring.versions[segment].signature
            at = told.refused(at, columns.unfit(takes.inputs, at))
            if len(at):
                replica = self._replica(segment)
                batch = Batch(columns.numbers(takes)[at], columns.texts(takes)[at])
                willing = told.guarded(at, batch, replica.guard)
                if willing.any():
                    _ask(replica, batch.take(willing), at[willing], told)
        return told.frame()

    def _routes(self, columns: _Columns, told: _Told) -> list[tuple[Segment, Places]]:
        """Positions of the rows by the segment whose version answers; what has none gets an error."""
        versions, declared = self.scoring.versions, self.scoring.declared
        per = declared.per if self.scoring.routed else ()
        if not per:
            return [(segment, np.arange(columns.count)) for segment in versions]
        found: dict[Segment, list[Places]] = {}
        for values, at in columns.groups(per):
            asked = tuple(as_text(value) for value in values)
            missing = [
                name
                for name, value in zip(per, values, strict=True)
                if value is None and name not in columns.nullable
            ]
            near = next((asked[:n] for n in range(len(asked), -1, -1) if asked[:n] in versions), None)
            if missing:
                told.error(at, f"column {missing[0]!r} has no value, and may not be missing")
            elif near is None:
                told.error(at, f"no version of model {declared.name!r} answers for {segment_text(asked)!r}")
            else:
                found.setdefault(near, []).append(at)
        return [(segment, np.concatenate(parts)) for segment, parts in found.items()]

    def _replica(self, segment: Segment) -> Replica:
        if segment not in self._replicas:
            one = self.scoring.versions[segment]
            compiled = one.package.compiled is not None
            resident = Resident(self._home, partial(self.load, one.package))
            self._replicas[segment] = Replica(
                self.scoring.declared.name,
                segment,
                one.version,
                one.signature,
                resident,
                compiled,
                self.guard(one.package),
            )
        # Here and not under the first question: that it cannot be loaded is no fault of a row.
        self._home.load(self._replicas[segment].predictor)
        return self._replicas[segment]


class _Columns:
    """The columns of a frame, each brought into the form that models take at most once."""

    def __init__(self, rows: pl.DataFrame, nullable: frozenset[str]) -> None:
        self.count = len(rows)
        self.nullable = nullable
        self._rows = rows
        self._typed: dict[tuple[str, Kind], tuple[npt.NDArray[Any], list[Refusal]]] = {}
        self._unfit: dict[tuple[Field, ...], list[Refusal]] = {}
        self._numbers: dict[tuple[tuple[str, Kind], ...], npt.NDArray[np.float32]] = {}
        self._texts: dict[tuple[str, ...], npt.NDArray[np.object_]] = {}

    def groups(self, names: Sequence[str]) -> list[tuple[tuple[Any, ...], Places]]:
        """Positions of the rows by their values in some columns."""
        for name in names:
            self._there(name)
        keys = self._rows.select(
            pl.col(name).fill_nan(None) if self._rows.schema[name].is_float() else pl.col(name)
            for name in names
        ).with_columns(pl.int_range(pl.len()).alias(""))
        groups = keys.group_by(names, maintain_order=True).agg(pl.col(""))
        at = [one.to_numpy().astype(np.intp) for one in groups[""]]
        return list(zip(groups.drop("").rows(), at, strict=True))

    def unfit(self, inputs: tuple[Field, ...], at: Places) -> list[Refusal]:
        """Which of some rows a version cannot take, and why; the first column's reason comes last, and stays."""
        if inputs not in self._unfit:
            self._unfit[inputs] = [
                one for field in reversed(inputs) for one in self._values(field.name, field.kind)[1]
            ]
        found = [(reason, which[at]) for reason, which in self._unfit[inputs]]
        return [(reason, which) for reason, which in found if which.any()]

    def numbers(self, takes: Signature) -> npt.NDArray[np.float32]:
        """Of all rows, what a version takes: float32, shape (rows, numeric inputs); NaN where missing."""
        fields = tuple((one.name, one.kind) for one in takes.inputs if one.kind is not Kind.TEXT)
        if fields not in self._numbers:
            matrix = self._numbers[fields] = np.empty((self.count, len(fields)), dtype=np.float32)
            for place, (name, kind) in enumerate(fields):
                matrix[:, place] = self._values(name, kind)[0]
        return self._numbers[fields]

    def texts(self, takes: Signature) -> npt.NDArray[np.object_]:
        """Objects, shape (rows, text inputs); ``""`` where missing."""
        names = takes.texts
        if names not in self._texts:
            matrix = self._texts[names] = np.empty((self.count, len(names)), dtype=object)
            for place, name in enumerate(names):
                matrix[:, place] = self._values(name, Kind.TEXT)[0]
        return self._texts[names]

    def _there(self, name: str) -> Any:
        if name not in self._rows.columns:
            raise Invalid(
                f"the rows have no column {name!r}",
                f"they have {', '.join(self._rows.columns[:50])}",
                "add it, or name the columns as the model does",
            )
        return self._rows.schema[name]

    def _values(self, name: str, kind: Kind) -> tuple[npt.NDArray[Any], list[Refusal]]:
        """A column as models take it, and which of its rows cannot be taken, with the reason."""
        kind = Kind.NUMBER if kind is Kind.INTEGER else kind
        if (name, kind) not in self._typed:
            held, raw = self._there(name), self._rows[name]
            if held != pl.Null and not _FITS[kind](held):
                raise Invalid(
                    f"column {name!r} holds {held}", f"the model takes {_WORDS[kind]} there", "convert it"
                )
            if not held.is_float():  # floats are what they are
                raw = as_typed(raw.to_frame(), {name: Field(name, kind)})[name]
            bad: list[Refusal] = []
            if kind is Kind.TEXT:
                values = np.array(raw.fill_null("").to_list(), dtype=object)
                missing = raw.is_null().to_numpy()
            else:
                wide = raw.cast(pl.Float64).fill_null(float("nan")).to_numpy()
                missing, far = np.isnan(wide), np.abs(wide) > _MOST
                values = np.where(far, np.nan, wide).astype(np.float32)
                if held == pl.String:
                    there = self._rows[name].str.strip_chars().fill_null("") != ""
                    odd = missing & there.to_numpy()
                    missing &= ~odd
                    bad.append((f"column {name!r} cannot be accepted: expected {_WORDS[kind]}", odd))
                bad.append(
                    (f"column {name!r} cannot be accepted: it is no number that a model can hold", far)
                )
            if name not in self.nullable:
                bad.append((f"column {name!r} has no value, and may not be missing", missing))
            self._typed[name, kind] = values, [(why, which) for why, which in bad if which.any()]
        return self._typed[name, kind]


class _Told:
    """What is said of each row of a frame."""

    def __init__(self, scoring: Scoring, count: int) -> None:
        self._scoring = scoring
        self._segments = list(scoring.versions)
        self._who = np.full(count, -1, dtype=np.int32)
        self._numbers = np.full((count, len(scoring.classes) or 1), np.nan, dtype=np.float32)
        self._texts = np.full(count if scoring.form == "json" else 0, None, dtype=object)
        self._why = np.full(count, -1, dtype=np.int32)
        self._flags: list[str | None] = [None] * count
        self._reasons: dict[str, int] = {}

    def error(self, at: Places, reason: str) -> None:
        """Why some rows cannot be answered."""
        self._why[at] = self._reasons.setdefault(reason, len(self._reasons))

    def refused(self, at: Places, refusals: Sequence[Refusal]) -> Places:
        """Tell of each refusal; returns the places that are left."""
        for reason, which in refusals:
            self.error(at[which], reason)
        return at[~np.logical_or.reduce([which for _, which in refusals])] if refusals else at

    def guarded(self, at: Places, batch: Batch, guard: Guard | None) -> npt.NDArray[np.bool_]:
        """Tell what is odd about some rows; returns which of them may be answered."""
        willing = np.ones(len(at), dtype=np.bool_)
        rows: dict[int, list[Odd]] = {}
        for one in (guard.odd(batch.numbers, batch.texts) if guard is not None else None) or ():
            rows.setdefault(one.row, []).append(one)
        for row, some in rows.items():
            refused = [one.told(row) for one in some if one.refused]
            if refused:
                willing[row] = False
                self.error(at[[row]], f"column {refused[0].column!r} cannot be accepted: {refused[0].why}")
            else:
                self._flags[at[row]] = flags(some).decode()
        return willing

    def answers(self, at: Places, replica: Replica, outputs: Any) -> None:
        """What a version says of some rows."""
        signature, form = replica.signature, self._scoring.form
        self._who[at] = self._segments.index(replica.ref.segment)
        if form == "number":
            self._numbers[at, 0] = outputs[:, 1 if signature.task == "binary" else 0]
        elif form == "classes":
            places = [self._scoring.classes.index(str(label)) for label in signature.classes]
            self._numbers[at[:, None], places] = outputs
        else:
            self._texts[at] = [one.decode() for one in replica.fragments(outputs) or ()]

    def frame(self) -> pl.DataFrame:
        """Columns of `Scoring.schema`."""
        scoring = self._scoring
        versions = [scoring.versions[segment].version for segment in self._segments]
        told = {
            "segment": _chosen([segment_text(segment) for segment in self._segments], self._who),
            "version": _chosen(versions, self._who),
            "error": _chosen(list(self._reasons), self._why),
            "flags": pl.Series(self._flags, dtype=pl.String),
        }
        for place, label in enumerate(scoring.classes):
            told[f"probability_{label}"] = _floats(self._numbers[:, place])
        if scoring.form == "number":
            told["output"] = _floats(self._numbers[:, 0])
        elif scoring.form == "classes":
            best = np.nan_to_num(self._numbers, nan=-1.0).argmax(axis=1)
            told["output"] = _chosen(list(scoring.classes), np.where(self._who < 0, -1, best))
        else:
            told["output"] = pl.Series(self._texts.tolist(), dtype=pl.String)
        return pl.DataFrame({name: told[name].cast(kind) for name, kind in scoring.schema.items()})


def _ask(replica: Replica, batch: Batch, at: Places, told: _Told) -> None:
    """Answer rows together; where that fails by halves, so that none spoils another."""
    try:
        outputs = replica.predictor.predict(batch)
    except Exception as error:
        if len(at) == 1:
            why = str(error) if isinstance(error, ModelworksError) else f"{type(error).__name__}: {error}"
            told.error(at, f"{replica.ref} failed on this row: {why}")
            return
        half = len(at) // 2
        for some in (slice(0, half), slice(half, None)):
            _ask(replica, batch.take(some), at[some], told)
        return
    if (
        replica.fragments(outputs) is None
        if replica.signature.task == "other"
        else not np.isfinite(outputs).all()
    ):
        good = np.array([replica.fragments(outputs[row : row + 1]) is not None for row in range(len(at))])
        told.error(at[~good], f"{replica.ref} gives no finite number for this row")
        at, outputs = at[good], outputs[good]
    if len(at):
        told.answers(at, replica, outputs)


def _chosen(values: Sequence[Any], places: npt.NDArray[Any]) -> pl.Series:
    """For each row one of a few values, by its place among them; null for -1."""
    if not values:
        return pl.Series([None] * len(places), dtype=pl.String)
    return pl.Series(values).gather(pl.Series(places.astype(np.int64)).replace(-1, None))


def _floats(values: npt.NDArray[np.float32]) -> pl.Series:
    return pl.Series(np.ascontiguousarray(values), dtype=pl.Float32).fill_nan(None)
