"""How often monitoring cries wolf, and how soon it sees a wolf; beside Evidently and NannyML by their defaults.

Run it with ``make bench-alarms``; the peers beside it need ``make peers``.

- *quiet*: a thousand models of twenty features whose world stands still for 90 days, looked at every day: incidents
  that are opened, by kind. There should be none.
- *shifts*: of the models 20 see their first feature move by so many standard deviations. *Told* is the share of them
  that are told of within 28 days, looking every day; *days* the median until then. *False* are alarms about what has
  not moved: of a thousand columns on one look, and of a column within the 28 days. A peer is given each day's rows,
  as a daily report would be, and once more all 28 days' in one report.
- *concepts*: inputs stay as they are, what follows from them changes (SEA, Agrawal, STAGGER, Friedman, of River). A
  model was trained before; all outcomes come. We look at the losses, among a thousand models that are as they were;
  NannyML at its performance (ROC AUC and accuracy, or RMSE), Evidently at the inputs, the answers and the truths.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import drift_peers
from modelworks.monitor.alerting import findings
from modelworks.monitor.performance import log_losses
from modelworks.monitor.watch import Traffic
from quiet_fleet import TRAILING, Fleet, sums_of

SIZES = (0.1, 0.25, 0.5, 1.0)
MOVERS = 20
CASES, OTHERS = 8, 7
"""Cases that a peer judges, and columns of each that do not move."""
_BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


def quiet(models: int, days: int, rows: int) -> Counter[str]:
    """Incidents that are opened in a world that stands still."""
    fleet, opened, open_ones = Fleet(models, rows=rows), Counter[str](), set[tuple[Any, str]]()
    for day in range(days):
        fleet.day()
        now = _BEGIN + timedelta(days=day + 1)
        watches = fleet.judged()
        first = max(0, day + 1 - TRAILING)
        dates = tuple(_BEGIN + timedelta(days=one) for one in range(first, day + 1))
        traffic = [Traffic(watch.segment, watch.rows, dates) for watch in watches]
        found = {(one.segment, one.kind) for one in findings("fleet", watches, traffic, now)}
        staying = {(one.segment, one.kind) for one in findings("fleet", watches, traffic, now, lasting=True)}
        opened.update(kind for _, kind in found - open_ones)
        open_ones = found | (open_ones & staying)
    return opened


def ours(size: float, rows: int, reference: int, models: int) -> dict[str, float | None]:
    """How we see a move, among models that do not move."""
    fleet = Fleet(models, rows=rows, reference=reference, moved=size, movers=MOVERS, since=0, seed=1)
    first: dict[int, int] = {}
    false: Counter[int] = Counter()
    wrong = set()
    for day in range(1, TRAILING + 1):
        fleet.day()
        for place, watch in enumerate(fleet.judged()):
            told = {*watch.shifted, *watch.slight}
            if place < MOVERS and "n0" in told:
                first.setdefault(place, day)
                told.remove("n0")
            false[day] += len(told)
            wrong.update((place, name) for name in told)
    columns = fleet.models * fleet.features - MOVERS
    return {
        **_seen(list(first.values()), MOVERS),
        "false a look": 1_000 * sum(false.values()) / TRAILING / columns,
        "false": len(wrong) / columns,
    }


def _seen(days: Sequence[int], of: int) -> dict[str, float | None]:
    later = sorted(days) + [TRAILING + 1] * (of - len(days))
    median = float(np.median(later))
    return {"told": len(days) / of, "days": median if median <= TRAILING else None}


def peers(
    folder: Path, size: float, rows: int, reference: int, name: str
) -> dict[str, dict[str, float | None]]:
    """How a peer sees the same: by a report a day, and by one of all days."""
    rng = np.random.default_rng(2)
    names = [f"n{n}" for n in range(1 + OTHERS)]
    for case in range(CASES):
        path = folder / f"case{case}"
        path.mkdir(parents=True)
        pl.DataFrame(rng.normal(size=(reference, len(names))), names).write_parquet(
            path / "reference.parquet"
        )
        days = pl.DataFrame(rng.normal(size=(TRAILING * rows, len(names))), names).with_columns(
            pl.col("n0") + size, day=pl.Series(np.repeat(np.arange(TRAILING), rows))
        )
        whole = days.with_columns(day=pl.lit(TRAILING, pl.Int64))
        days.write_parquet(path / "current.parquet")
        (folder.with_name(folder.name + "-whole") / f"case{case}").mkdir(parents=True)
        for kind, frame in (("current", whole), ("reference", pl.read_parquet(path / "reference.parquet"))):
            frame.write_parquet(folder.with_name(folder.name + "-whole") / f"case{case}" / f"{kind}.parquet")
    told = {}
    for way, where in (("each day", folder), ("28 days", folder.with_name(folder.name + "-whole"))):
        said = drift_peers.ask(name, where)
        first, false, wrong = [], 0, 0
        for one in said.values():
            hits = [day + 1 for day, found in enumerate(one.alarms) if "n0" in found]
            first += [hits[0] if way == "each day" else TRAILING] if hits else []
            others = [set(found) - {"n0"} for found in one.alarms]
            false += sum(map(len, others))
            wrong += len(set().union(*others))
        looks = len(next(iter(said.values())).alarms)
        told[way] = {
            **_seen(first, len(said)),
            "false a look": 1_000 * false / (looks * len(said) * OTHERS),
            "false": wrong / (len(said) * OTHERS),
        }
    return told


def table(rows: Iterator[tuple[str, dict[str, Any]]]) -> None:
    """Print lines as they come."""
    print(f"{'':44} {'told':>6} {'days':>6} {'false of 1,000 a look':>22} {'false in 28 days':>17}")
    for what, one in rows:
        days = "-" if one["days"] is None else f"{one['days']:.0f}"
        false = f"{one['false a look']:22.2f} {one['false']:17.1%}" if "false" in one else ""
        print(f"{what:44} {one['told']:6.0%} {days:>6} {false}", flush=True)


def shifts(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every size at every traffic, ours and the peers'."""
    for rows in options.rows:
        for size in SIZES:
            what = f"{size:4} sd, {rows:5} rows a day"
            yield f"{what}  ours", ours(size, rows, options.reference, options.models)
            for name in options.peers:
                if why := drift_peers.missing(name):
                    yield f"{what}  {name}: {why}", {"told": 0, "days": None, "false a look": 0, "false": 0}
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    found = peers(Path(folder) / "days", size, rows, options.reference, name)
                for way, one in found.items():
                    yield f"{what}  {name}, {way}", one


def stream(name: str, rows: int, changed: bool, seed: int) -> tuple[Any, Any]:
    """Features and truths of one of River's streams, before its change or after it."""
    from river.datasets import synth

    made: Any = {
        "SEA 0 to 1": lambda: synth.SEA(variant=int(changed), noise=0.1, seed=seed),
        "SEA 0 to 3": lambda: synth.SEA(variant=3 * changed, noise=0.1, seed=seed),
        "Agrawal 0 to 1": lambda: synth.Agrawal(classification_function=int(changed), seed=seed),
        "STAGGER 0 to 1": lambda: synth.STAGGER(classification_function=int(changed), seed=seed),
        "Friedman": lambda: synth.FriedmanDrift(
            "gra", position=(0, 10**9) if changed else (10**8, 10**9), seed=seed
        ),
    }[name]()
    taken = list(made.take(rows))
    columns = [np.array([row[key] for row, _ in taken]) for key in taken[0][0]]
    # Texts are numbered in the order of the alphabet.
    numbers = [np.unique(one, return_inverse=True)[1] if one.dtype.kind in "UO" else one for one in columns]
    return np.column_stack(numbers).astype(np.float64), np.array([float(truth) for _, truth in taken])


STREAMS = ("SEA 0 to 1", "SEA 0 to 3", "Agrawal 0 to 1", "STAGGER 0 to 1", "Friedman")


def concepts(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every stream as it was and changed, ours and the peers'."""
    rows, held = 200, 2_000
    for name in STREAMS:
        for changed in (False, True):
            what = f"{name}{'' if changed else ', unchanged'}"
            seen = [_answered(name, changed, seed, rows, held) for seed in range(CASES)]
            fleet = Fleet(options.models, features=1, rows=rows, reference=held, seed=3)
            for case, (reference, _) in enumerate(seen):
                key = (f"m{case}", 1)
                fleet.known[key] = replace(fleet.known[key], promised=float(reference["loss"].mean()))
            first: dict[int, int] = {}
            for day in range(TRAILING):
                losses = [live["loss"].to_numpy()[day * rows :][:rows] for _, live in seen]
                fleet.day(sums_of(np.stack(losses)))
                for case, watch in enumerate(fleet.judged()[:CASES]):
                    if watch.decayed:
                        first.setdefault(case, day + 1)
            yield f"{what}  ours", _seen(list(first.values()), CASES)
            for peer, about in (("nannyml", "performance"), ("nannyml", "drift"), ("evidently", "drift")):
                if peer not in options.peers or drift_peers.missing(peer):
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    for case, (reference, live) in enumerate(seen):
                        path = Path(folder) / f"case{case}"
                        path.mkdir()
                        days = live.with_columns(day=pl.Series(np.repeat(np.arange(TRAILING), rows)))
                        reference.drop("loss").write_parquet(path / "reference.parquet")
                        days.drop("loss").write_parquet(path / "current.parquet")
                    said = drift_peers.ask(peer, Path(folder), about)
                hits = [[day + 1 for day, found in enumerate(one.alarms) if found] for one in said.values()]
                yield f"{what}  {peer}, {about}", _seen([days[0] for days in hits if days], CASES)


def _answered(name: str, changed: bool, seed: int, rows: int, held: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What a model that learned before the change says of rows it did not learn from, and of those that come."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    x, y = stream(name, 5_000 + held, False, seed)
    live = stream(name, TRAILING * rows, changed, 1_000 + seed)
    binary = set(np.unique(y)) <= {0.0, 1.0}
    made = (HistGradientBoostingClassifier if binary else HistGradientBoostingRegressor)(max_iter=50)
    made.fit(x[:5_000], y[:5_000])
    frames = []
    for inputs, truth in ((x[5_000:], y[5_000:]), live):
        frame = pl.DataFrame(inputs, [f"n{n}" for n in range(inputs.shape[1])])
        if binary:
            score = made.predict_proba(inputs)[:, 1]
            loss = log_losses(np.where(truth == 1, score, 1 - score))
            extra = {
                "score": score,
                "answer": (score >= 0.5).astype(np.int64),
                "truth": truth.astype(np.int64),
            }
        else:
            answer = made.predict(inputs)
            loss, extra = np.square(answer - truth), {"answer": answer, "truth": truth}
        frames.append(
            frame.with_columns(**{key: pl.Series(value) for key, value in extra.items()}, loss=loss)
        )
    return frames[0], frames[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", type=int, default=1_000)
    parser.add_argument("--days", type=int, default=90, help="that the quiet world lasts")
    parser.add_argument("--rows", type=int, nargs="*", default=[50, 500, 2_000], help="a day and model")
    parser.add_argument("--reference", type=int, default=5_000, help="rows that each model was trained on")
    parser.add_argument("--peers", nargs="*", choices=drift_peers.NAMES, default=list(drift_peers.NAMES))
    parser.add_argument("--only", nargs="*", choices=("quiet", "shifts", "concepts"), default=None)
    options = parser.parse_args()
    wanted = options.only or ("quiet", "shifts", "concepts")
    if "quiet" in wanted:
        opened = quiet(options.models, options.days, 60)
        weeks = options.days / 7
        print(
            f"{options.models:,} models x 20 features, nothing happens for {options.days} days: "
            f"{opened.total()} incidents, {opened.total() / weeks:.2f} a week {json.dumps(opened)}"
        )
    if "shifts" in wanted:
        table(shifts(options))
    if "concepts" in wanted:
        table(concepts(options))


if __name__ == "__main__":
    main()
