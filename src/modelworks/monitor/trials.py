"""What the log says of rollouts: both sides, row by row as they come, without looking at what was seen before.

What is older than `_SETTLED` is added up once and kept in the ledger with the rollout; what is newer is looked at again
each time, since several servers' rows reach the table a little out of order. So it does not matter who looks, how
often, or whether somebody was killed at it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from modelworks.core.clock import utc
from modelworks.deploy.rollout import Underway
from modelworks.deploy.strategies.seen import QUICK, Arm, Sums
from modelworks.monitor.window import SLACK, Key, Known, joined, losses
from modelworks.stores.tables import Tables

_SETTLED = timedelta(seconds=30)
_SKEW = timedelta(minutes=1)
_BITS = 17
"""Bits of a float32 that a bin of outputs leaves out: 64 bins from any number to its double."""
_CHAMPION, _CHALLENGER = False, True
_OUTCOMES = ("prediction_id", "key", "received", "value", "label")
_ROWS = (
    "id",
    "time",
    "model",
    "segment",
    "version",
    "key",
    "output",
    "outputs",
    "arm",
    "rollout",
    "shadow_of",
)


@dataclass(frozen=True)
class Evidence:
    """What was seen of one rollout.

    Attributes:
        champion: Of the rows that the champion answered.
        challenger: Of those that the challenger was given.
        pairs: Differences of their losses on the same rows.
        until: Rows older than this are added up.
        heard: The losses of what was answered and told before are.
    """

    champion: Arm
    challenger: Arm
    pairs: Sums
    until: datetime
    heard: datetime

    @classmethod
    def of(cls, one: Underway) -> Evidence:
        """What was added up so far."""
        stored = one.evidence.get("kept")
        if stored is None:
            made = _made(one.id)
            return cls(Arm(), Arm(), Sums(), made, made)
        return cls(
            Arm.from_json(stored["champion"]),
            Arm.from_json(stored["challenger"]),
            Sums(*stored["pairs"]),
            utc(datetime.fromisoformat(stored["until"])),
            utc(datetime.fromisoformat(stored["heard"])),
        )

    def to_json(self) -> dict[str, Any]:
        """As data."""
        pairs = self.pairs
        return {
            "champion": self.champion.to_json(),
            "challenger": self.challenger.to_json(),
            "pairs": [pairs.n, pairs.total, pairs.squares],
            "until": self.until.isoformat(),
            "heard": self.heard.isoformat(),
        }

    def told(self) -> dict[str, Any]:
        """For people: means in place of sums, no bins."""
        return {
            **{
                name: _told(arm)
                for name, arm in (("champion", self.champion), ("challenger", self.challenger))
            },
            "pairs": self.pairs.n,
            "pair_difference": self.pairs.mean if self.pairs.n else None,
        }


@dataclass(frozen=True)
class Gathered:
    """Evidence of one rollout: what is added up from now on, and all of it up to this moment."""

    kept: Evidence
    seen: Evidence

    def to_json(self) -> dict[str, Any]:
        """As it stands in the ledger."""
        return {"kept": self.kept.to_json(), **self.seen.told()}


def _told(arm: Arm) -> dict[str, Any]:
    return {
        "rows": arm.rows,
        "failed": arm.failed,
        "rejected": arm.rejected,
        "seconds": float(np.exp(arm.seconds.mean)) if arm.seconds.n else None,
        "outcomes": arm.loss.n,
        "loss": arm.loss.mean if arm.loss.n else None,
    }


def gather(
    tables: Tables,
    going: Sequence[Underway],
    known: Callable[[str, Iterable[Key]], Mapping[Key, Known]],
) -> dict[str, Gathered]:
    """What is to be seen of rollouts that go on, by id; the log is read once for all of them.

    Args:
        tables: With ``predictions`` and ``outcomes``.
        going: The rollouts.
        known: Gives what is known of versions of a model; see `monitor.versions`.
    """
    before = {one.id: Evidence.of(one) for one in going}
    found = {identifier: Gathered(one, one) for identifier, one in before.items()}
    if not going or not tables.exists("predictions"):
        return found
    scan = tables.scan("predictions")
    if "rollout" not in scan.collect_schema():
        return found
    ids = list(before)
    mine = pl.col("rollout").is_in(ids) & (pl.col("id") >= _first_id(ids))
    _answers(scan.filter(mine, pl.col("time") >= min(one.until for one in before.values())), before, found)
    _outcomes(tables, scan.filter(mine), going, before, found, known)
    return found


def _made(rollout: str) -> datetime:
    """Before anything was answered in it."""
    return datetime.fromtimestamp(int(rollout[:12], 16) / 1000, UTC) - _SKEW


def _first_id(ids: Sequence[str]) -> str:
    """Below every id of a prediction that can be of these rollouts."""
    return f"{int(min(ids)[:12], 16) - int(_SKEW.total_seconds() * 1000):012x}"


def _answers(scan: pl.LazyFrame, before: Mapping[str, Evidence], found: dict[str, Gathered]) -> None:
    """Add what both sides answered."""
    rows = scan.select("rollout", "time", "arm", "seconds", "failure", "output").collect()
    rows = _since(rows, "time", {name: one.until for name, one in before.items()})
    if not len(rows):
        return
    failed = pl.col("failure").is_not_null()
    rejected = pl.col("failure").str.starts_with("rejected").fill_null(value=False)
    rows = rows.with_columns(
        side=pl.col("arm").is_in(["challenger", "shadow"]) | failed,
        rejected=rejected,
        failed=failed & ~rejected,
        place=pl.Series(_places(rows["output"])),
    )
    by = ["rollout", "side", "settled"]
    counts = rows.group_by(by).agg(pl.len(), pl.col("failed").sum(), pl.col("rejected").sum())
    # A call of many rows is one call.
    calls = rows.filter(pl.col("seconds").is_not_null()).unique([*by, "seconds"])
    logs = pl.col("seconds").clip(QUICK).log()
    times = calls.group_by(by).agg(n=pl.len(), total=logs.sum(), squares=logs.pow(2).sum())
    # What was answered where the challenger failed is the champion's, on rows that are hard.
    given = rows.filter(pl.col("output").is_not_null() & ~(pl.col("failed") | pl.col("rejected")))
    bins = given.group_by([*by, "place"]).len()
    arms: dict[tuple[str, bool, bool], Arm] = {}
    for *at, number, lost, turned_down in counts.iter_rows():
        arms[_at(at)] = Arm(number, lost, turned_down)
    for *at, number, total, squares in times.iter_rows():
        arms[_at(at)] = replace(arms[_at(at)], seconds=Sums(number, total, squares))
    outputs: dict[tuple[str, bool, bool], dict[int, int]] = {}
    for *at, place, number in bins.iter_rows():
        outputs.setdefault(_at(at), {})[place] = number
    arms.update({at: replace(arms[at], outputs=some) for at, some in outputs.items()})
    for name, until in _settled_until(rows, "time").items():
        old = found[name]
        sides = {side: arms.get((name, side, True), Arm()) for side in (_CHAMPION, _CHALLENGER)}
        fresh = {side: arms.get((name, side, False), Arm()) for side in (_CHAMPION, _CHALLENGER)}
        kept = replace(
            old.kept,
            champion=old.kept.champion + sides[_CHAMPION],
            challenger=old.kept.challenger + sides[_CHALLENGER],
            until=max(until, old.kept.until),
        )
        seen = replace(
            kept,
            champion=kept.champion + fresh[_CHAMPION],
            challenger=kept.challenger + fresh[_CHALLENGER],
        )
        found[name] = Gathered(kept, seen)


def _outcomes(
    tables: Tables,
    scan: pl.LazyFrame,
    going: Sequence[Underway],
    before: Mapping[str, Evidence],
    found: dict[str, Gathered],
    known: Callable[[str, Iterable[Key]], Mapping[Key, Known]],
) -> None:
    """Bring losses up to date with answers and outcomes that came since, in whichever order they came."""
    if not tables.exists("outcomes"):
        return
    heard = min(one.heard for one in before.values())
    told = tables.scan("outcomes")
    new = told.filter(pl.col("received") >= heard).select("prediction_id", "key").collect()
    ids, keys = (new[name].drop_nulls().unique().implode() for name in ("prediction_id", "key"))
    touched = pl.col("id").is_in(ids) | pl.col("shadow_of").is_in(ids) | pl.col("key").is_in(keys)
    # The silent answer beside one that was just before is a little later.
    touched |= pl.col("time") >= heard - _SETTLED
    rows = scan.filter(touched, pl.col("failure").is_null()).select(_ROWS).collect()
    if not len(rows):
        return
    rows = rows.with_columns(own=pl.col("id"), id=pl.coalesce("shadow_of", "id"))
    # All that was told of these answers, also before: the newest counts, and what counted until now is taken out.
    mine = pl.col("prediction_id").is_in(rows["id"].unique().implode())
    mine |= pl.col("key").is_in(rows["key"].drop_nulls().unique().implode())
    told = told.filter(pl.col("received") >= min(map(_made, before)) - SLACK, mine)
    outcomes = told.select("model", *_OUTCOMES).collect()
    for one in going:
        part = rows.filter(pl.col("rollout") == one.id)
        meant = outcomes.filter(pl.col("model").is_null() | (pl.col("model") == one.model))
        if len(part) and len(meant):
            found[one.id] = _with_losses(part, meant, found[one.id], known)


def _with_losses(
    rows: pl.DataFrame,
    outcomes: pl.DataFrame,
    old: Gathered,
    known: Callable[[str, Iterable[Key]], Mapping[Key, Known]],
) -> Gathered:
    """An answer counts once, with the truth told last: by what was known at a moment, less what counted before."""
    latest = max(rows["time"].max(), outcomes["received"].max())  # type: ignore[type-var]
    assert isinstance(latest, datetime)
    heard = old.kept.heard
    settled = max(latest - _SETTLED, heard)
    versions = known(rows["model"][0], rows.select("segment", "version").unique().rows())

    def by(moment: datetime) -> tuple[Sums, Sums, Sums]:
        there = rows.filter(pl.col("time") < moment)
        labelled = joined(there, outcomes.filter(pl.col("received") < moment).select(_OUTCOMES))
        labelled = labelled.with_columns(loss=pl.Series(losses(labelled, versions), dtype=pl.Float64))
        labelled = labelled.filter(pl.col("loss").is_not_nan())
        theirs = pl.col("arm").is_in(["challenger", "shadow"])
        one, other = labelled.filter(theirs), labelled.filter(~theirs)
        silent = one.filter(pl.col("arm") == "shadow")
        pairs = silent.join(other.select("id", beside="loss"), on="id")
        return _sums(other["loss"]), _sums(one["loss"]), _sums(pairs["loss"] - pairs["beside"])

    counted = by(heard)

    def more(moment: datetime) -> tuple[Sums, Sums, Sums]:
        one, other, pairs = (new - was for new, was in zip(by(moment), counted, strict=True))
        return one, other, pairs

    kept = replace(_add(old.kept, more(settled)), heard=settled)
    seen = replace(_add(old.seen, more(latest + _SETTLED)), heard=settled)
    return Gathered(kept, seen)


def _add(one: Evidence, sums: tuple[Sums, Sums, Sums]) -> Evidence:
    champion, challenger, pairs = sums
    return replace(
        one,
        champion=replace(one.champion, loss=one.champion.loss + champion),
        challenger=replace(one.challenger, loss=one.challenger.loss + challenger),
        pairs=one.pairs + pairs,
    )


def _sums(values: pl.Series) -> Sums:
    each = values.to_numpy().astype(np.float64)
    return Sums(len(each), float(each.sum()), float(np.square(each).sum()))


def _since(rows: pl.DataFrame, column: str, since: Mapping[str, datetime]) -> pl.DataFrame:
    """The rows from each rollout's moment on, and whether they may be added up for good."""
    moments = pl.DataFrame(
        {"rollout": list(since), "since": list(since.values())},
        schema={"rollout": pl.String, "since": pl.Datetime("us", "UTC")},
    )
    rows = rows.join(moments, on="rollout").filter(pl.col(column) >= pl.col("since"))
    return rows.with_columns(settled=pl.col(column) < pl.col(column).max().over("rollout") - _SETTLED)


def _settled_until(rows: pl.DataFrame, column: str) -> dict[str, datetime]:
    latest = rows.group_by("rollout").agg(pl.col(column).max() - _SETTLED)
    return dict(latest.iter_rows())


def _at(key: Sequence[Any]) -> tuple[str, bool, bool]:
    return key[0], key[1], key[2]


def _places(outputs: pl.Series) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The bins of outputs: their float32 without the last bits, in the order of the numbers."""
    bits = outputs.fill_null(0.0).to_numpy().astype(np.float32).view(np.int32).astype(np.int64)
    return np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF)) >> _BITS
