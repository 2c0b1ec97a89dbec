"""What gates need beside the metrics, looked at where the held-out rows are: see `registry.gates.evidence`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from time import perf_counter_ns
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.core.batch import Batch
from modelworks.core.errors import Invalid, ModelworksError
from modelworks.models import packaging
from modelworks.models.metrics import METRICS
from modelworks.models.package import Package
from modelworks.models.predictor import Predictor
from modelworks.models.signature import Signature
from modelworks.registry.gates.evidence import (
    Bin,
    Calibration,
    ChampionSignature,
    Change,
    Changed,
    Compared,
    Comparison,
    Confusion,
    Confusions,
    Need,
    NewestRow,
    Reliability,
    Size,
    Strain,
    Strained,
    Times,
    Timing,
    Trial,
)
from modelworks.stores.artifacts import Artifacts

Values = npt.NDArray[Any]
Scores = npt.NDArray[Any]
Places = npt.NDArray[np.int64]

_BIN_ROWS = 10
"""Rows that a bin of probabilities gets at least."""
_DISTINCT = 12
"""Distinct numbers from which a column is cut into its quarters."""
_STRAINED = 2_000
"""Held-out rows, the newest, on which inputs are made difficult at most."""
_UNSEEN = "\x00 a value that no row had"


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The held-out rows of a candidate, and who answered them.

    Attributes:
        signature: Of the candidate.
        truth: Targets, shape (rows,).
        scores: The candidate's answers.
        batch: The inputs.
        column: Gives a column of the dataset by name, shape (rows,).
        package: The candidate, packed.
        artifacts: Where it is.
        newest: Event time of the newest row, UTC.
        champion: Its signature and its answers to the same rows; ``None`` where there are none.
        champion_signature: What it takes, also where it cannot answer these rows.
        champion_code: Digest of its definition's code.
    """

    signature: Signature
    truth: Values
    scores: Scores
    batch: Batch
    column: Callable[[str], Values]
    package: Package
    artifacts: Artifacts
    newest: datetime
    champion: tuple[Signature, Scores] | None = None
    champion_signature: Signature | None = None
    champion_code: str = ""

    @cached_property
    def served(self) -> Predictor:
        """The candidate in the form in which it would be served."""
        return packaging.load(self.package, self.artifacts)

    def __len__(self) -> int:
        return len(self.truth)


def gather(needs: Sequence[Need[Any]], rows: HeldOut) -> Mapping[Need[Any], Any]:
    """Look at everything that is needed; a text where that was not possible."""
    found: dict[Need[Any], Any] = {}
    for need in needs:
        try:
            with warnings.catch_warnings():  # what is undefined is said by its value
                warnings.simplefilter("ignore")
                found[need] = _LOOK[type(need)](need, rows)
        except ModelworksError as error:
            found[need] = error.what
        except Exception as error:
            found[need] = f"{type(need).__name__} could not be had: {type(error).__name__}: {error}"[:500]
    return found


def groups(values: Values) -> tuple[list[str], Places]:
    """Rows by the value of a column: names, and the place of each row's name, shape (rows,).

    A column of more than `_DISTINCT` numbers or times is cut into its quarters. Missing values are ``""``.
    """
    if values.dtype.kind == "O":
        texts, place = np.unique(values.astype(str), return_inverse=True)
        return [str(text) for text in texts], place
    there = ~(np.isnat(values) if values.dtype.kind == "M" else np.isnan(values.astype(np.float64)))
    distinct, place = np.unique(values[there], return_inverse=True)
    if len(distinct) <= _DISTINCT:
        names = [_name(value) for value in distinct]
    else:
        cuts = np.unique(place[np.argsort(place)][np.linspace(0, len(place) - 1, 5).astype(int)])
        names = [f"{_name(distinct[low])} to {_name(distinct[high])}" for low, high in pairwise(cuts)]
        place = np.clip(np.searchsorted(cuts, place, side="right") - 1, 0, len(names) - 1)
    if there.all():
        return names, place
    places = np.full(len(values), len(names), np.int64)
    places[there] = place
    return [*names, ""], places


def _name(value: Any) -> str:
    if isinstance(value, np.datetime64):
        return str(value)[:16]
    return ("no", "yes")[int(value)] if isinstance(value, np.bool_) else f"{value:g}"


def _parts(by: str, rows: HeldOut) -> dict[str, Places]:
    """Where the rows of each group are, the largest group first."""
    if not by:
        return {"": np.arange(len(rows))}
    names, place = groups(rows.column(by))
    order = np.argsort(place, kind="stable")
    ends = np.searchsorted(place[order], np.arange(len(names) + 1))
    parts = {name: order[ends[at] : ends[at + 1]] for at, name in enumerate(names)}
    return dict(sorted(((n, p) for n, p in parts.items() if len(p)), key=lambda one: -len(one[1])))


def _comparison(need: Comparison, rows: HeldOut) -> Mapping[str, Compared]:
    if rows.signature.task == "other":
        raise Invalid(f"{need.metric} is not defined for answers that are no numbers")
    return {
        name: compared(need.metric, rows, part) if len(part) >= need.min_rows else Compared(len(part))
        for name, part in _parts(need.by, rows).items()
    }


def compared(metric: str, rows: HeldOut, part: Places) -> Compared:
    """A metric of candidate and champion on some of the rows."""
    y = rows.truth[part]
    mine = _measured(metric, y, rows.scores[part], rows.signature)
    if mine[0] is None:
        return Compared(len(y))
    theirs: tuple[float | None, npt.NDArray[np.float64] | None] = (None, None)
    if rows.champion is not None and rows.champion[0].task == rows.signature.task:
        theirs = _measured(metric, y, rows.champion[1][part], rows.champion[0])
    error = None if mine[1] is None else _error(mine[1])
    if theirs[0] is None:
        return Compared(len(y), mine[0], error)
    apart = None if mine[1] is None or theirs[1] is None else _error(mine[1] - theirs[1])
    return Compared(len(y), mine[0], error, theirs[0], apart)


def _measured(
    metric: str, y: Values, scores: Scores, signature: Signature
) -> tuple[float | None, npt.NDArray[np.float64] | None]:
    """A metric's value, and how much each row moves it."""
    measure = METRICS[metric]
    value = measure(y, scores, signature.classes)
    if not math.isfinite(value):
        return None, None
    return value, None if measure.influence is None else measure.influence(y, scores, signature.classes)


def _error(influence: npt.NDArray[np.float64]) -> float | None:
    """Standard error of a value, from the influence of each row on it."""
    if len(influence) < 2:
        return None
    error = float(influence.std(ddof=1) / math.sqrt(len(influence)))
    return error if math.isfinite(error) else None


def _probabilities(rows: HeldOut) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Of each row the probability that calibration is about, and whether it came true."""
    signature = rows.signature
    if not signature.classes:
        raise Invalid("the model does not answer with probabilities, so they cannot be judged")
    _numbers(rows)
    if len(signature.classes) == 2:
        return rows.scores[:, 1].astype(np.float64), rows.truth == signature.classes[1]
    best = rows.scores.argmax(axis=1)
    came = np.array(signature.classes, dtype=object)[best] == rows.truth
    return rows.scores.max(axis=1).astype(np.float64), came.astype(bool)


def _numbers(rows: HeldOut) -> None:
    dumb = int((~np.isfinite(rows.scores)).any(axis=1).sum())
    if dumb:
        raise Invalid(f"the model answers {dumb} of {len(rows)} held-out rows with no number")


def _calibration(need: Calibration, rows: HeldOut) -> Reliability:
    p, came = _probabilities(rows)
    order = np.argsort(p, kind="stable")
    p, came = np.clip(p[order], 0, 1), came[order]
    number = max(1, min(need.bins, len(p) // _BIN_ROWS))
    # Rows of one probability stay in one bin.
    starts = np.unique(np.searchsorted(p, p[np.arange(number) * len(p) // number])) if len(p) else np.zeros(0)
    bins = tuple(
        Bin(len(q), float(q.mean()), float(c.mean()), float((q * (1 - q)).sum()))
        for q, c in zip(np.split(p, starts[1:]), np.split(came, starts[1:]), strict=True)
        if len(q)
    )
    spread = float((np.square(1 - 2 * p) * p * (1 - p)).sum())
    z = float(((came - p) * (1 - 2 * p)).sum()) / math.sqrt(spread) if spread > 0 else None
    even = tuple(np.histogram(p, bins=20, range=(0, 1))[0].tolist())
    return Reliability(len(p), bins, z, even)


def _confusions(need: Confusions, rows: HeldOut) -> Mapping[str, Confusion]:
    if rows.signature.task != "binary":
        raise Invalid("the model does not part rows into two classes, so it selects nobody")
    _numbers(rows)
    selected = rows.scores[:, 1] >= need.threshold
    event = rows.truth == rows.signature.classes[1]
    cells = selected * 2 + event
    counts = {
        name: np.bincount(cells[part], minlength=4).tolist() for name, part in _parts(need.by, rows).items()
    }
    return {name: Confusion(tp, fp, fn, tn) for name, (tn, fn, fp, tp) in counts.items()}


def _strain(need: Strain, rows: HeldOut) -> Strained:
    if rows.signature.task == "other":
        raise Invalid(f"{need.metric} is not defined for answers that are no numbers")
    last = slice(-_STRAINED, None)
    batch, y, signature = rows.batch.take(last), rows.truth[last], rows.signature
    value, _ = _measured(need.metric, y, rows.scores[last], signature)
    nullable = {field.name for field in signature.inputs if field.nullable}
    trials = [] if value is None else [*_trials(need, batch, signature, nullable)]
    tried = tuple(
        Trial(what, _after(need.metric, rows.served, strained, y, signature)) for what, strained in trials
    )
    required = tuple(name for name in signature.numbers if name not in nullable)
    return Strained(len(y), value, tried, required if need.missing else ())


def _trials(
    need: Strain, batch: Batch, signature: Signature, nullable: set[str]
) -> Sequence[tuple[str, Batch]]:
    made: list[tuple[str, Batch]] = []
    spread = np.nanstd(batch.numbers.astype(np.float64), axis=0) if len(batch) else np.zeros(0)
    for place, name in enumerate(signature.numbers):
        if need.missing and name in nullable:
            made.append((f"{name} missing", _with_number(batch, place, np.float32(np.nan))))
        if need.shift and place < len(spread) and np.isfinite(spread[place]) and spread[place] > 0:
            for sign, word in ((1, "above"), (-1, "below")):
                moved = batch.numbers[:, place] + np.float32(sign * need.shift * spread[place])
                made.append((f"{name} {need.shift:g} sd {word}", _with_number(batch, place, moved)))
    if need.noise and batch.numbers.size:
        noise = np.random.default_rng(0).normal(0, need.noise, batch.numbers.shape) * np.nan_to_num(spread)
        made.append(
            (f"noise of {need.noise:g} sd", Batch((batch.numbers + noise).astype(np.float32), batch.texts))
        )
    for place, name in enumerate(signature.texts):
        for wanted, word, text in ((need.missing, "missing", ""), (need.unseen, "unseen", _UNSEEN)):
            if wanted:
                texts = batch.texts.copy()
                texts[:, place] = text
                made.append((f"{name} {word}", Batch(batch.numbers, texts)))
    return made


def _with_number(batch: Batch, place: int, values: Any) -> Batch:
    numbers = batch.numbers.copy()
    numbers[:, place] = values
    return Batch(numbers, batch.texts)


def _after(metric: str, model: Predictor, batch: Batch, y: Values, signature: Signature) -> float | None:
    try:
        scores = model.predict(batch)
    except Exception:
        return None  # a model that does not answer has no value
    if not np.isfinite(scores.astype(np.float64)).all():
        return None
    return _measured(metric, y, scores, signature)[0]


def _timing(need: Timing, rows: HeldOut) -> Times:
    if not len(rows.batch):
        raise Invalid("there are no held-out rows to time the model on")
    singles = [rows.batch.take(slice(at, at + 1)) for at in range(min(len(rows.batch), 64))]
    taken = []
    for call in range(-20, need.calls):  # the first ones warm it up
        one = singles[call % len(singles)]
        begun = perf_counter_ns()
        rows.served.predict(one)
        if call >= 0:
            taken.append((perf_counter_ns() - begun) / 1e6)
    return Times(float(np.percentile(taken, 50)), float(np.percentile(taken, 99)), need.calls)


def _size(_need: Size, rows: HeldOut) -> int:
    return len(rows.artifacts.get(rows.package.compiled or rows.package.native))


def _change(_need: Change, rows: HeldOut) -> Changed | None:
    before = rows.champion_signature
    if before is None:
        return None
    code = rows.package.code != rows.champion_code
    sides = [{field.name for field in signature.inputs} for signature in (rows.signature, before)]
    inputs = tuple(sorted(sides[0] ^ sides[1]))
    comparable = (rows.signature.task, rows.signature.classes) == (before.task, before.classes)
    if rows.champion is None or not comparable or before.task == "other":
        return Changed(0, None, None, code, inputs)
    mine, theirs = (
        scores.astype(np.float64).reshape(len(rows), -1) for scores in (rows.scores, rows.champion[1])
    )
    if not before.classes:
        apart, spread = float(np.abs(mine - theirs).mean()), float(theirs.std())
        return Changed(len(rows), None, apart / spread if spread else apart and math.inf, code, inputs)
    flipped = float((mine.argmax(axis=1) != theirs.argmax(axis=1)).mean())
    apart = float(np.abs(mine - theirs).sum(axis=1).mean() / 2)
    return Changed(len(rows), flipped, apart, code, inputs)


_LOOK: Mapping[type, Callable[[Any, HeldOut], Any]] = {
    Comparison: _comparison,
    Calibration: _calibration,
    Confusions: _confusions,
    Strain: _strain,
    Timing: _timing,
    Size: _size,
    NewestRow: lambda _need, rows: rows.newest,
    Change: _change,
    ChampionSignature: lambda _need, rows: rows.champion_signature,
}
