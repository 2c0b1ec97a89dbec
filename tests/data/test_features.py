"""Features are what they say they are, whoever computes them: a training, or the server for one row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelworks.core.errors import Invalid
from modelworks.core.schema import Number, Time
from modelworks.data.dataset import Dataset
from modelworks.data.features import history
from modelworks.data.features.compute import compute, fields, needs
from modelworks.data.features.definition import AsOf, Expression, Feature, Rolling, from_json, to_json
from modelworks.data.features.history import History
from modelworks.data.sources.files import Files

START = datetime(2024, 1, 1, tzinfo=UTC)
FEATURES: dict[str, Feature] = {
    "twice": Expression("value * 2"),
    "share": Expression("value / nullif(week, 0)"),
    "then": AsOf("past", "value", by="who"),
    "lately": AsOf("past", "value", by={"who": "who"}, within="2h"),
    "anyone": AsOf("past", "who"),
    "times": Rolling("count", by="who", over="3h", dataset="past"),
    "all_times": Rolling("count", over="1h", dataset="past"),
    "mean": Rolling("mean", "value", by="who", over="3h", lag="1h", dataset="past"),
    "week": Rolling("sum", "value", by="who", over="1w", dataset="past"),
    "last": Rolling("last", "value", by="who", over="90m", dataset="past"),
}

moments = st.integers(0, 12 * 60).map(lambda minutes: START + timedelta(minutes=minutes))
people = st.sampled_from(["a", "b", "c", None])
values = st.one_of(st.none(), st.integers(-5, 5).map(float))
tables = st.lists(st.tuples(moments, people, values), max_size=40)


def frame(rows: list[tuple[datetime, str | None, float | None]]) -> pl.DataFrame:
    schema = {"at": pl.Datetime("us", "UTC"), "who": pl.String, "value": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def computed(rows: pl.DataFrame, past: pl.DataFrame) -> pl.DataFrame:
    def of(_name: str, keys: tuple[str, ...]) -> History:
        return History.of(past, keys, "at")

    return compute(rows, FEATURES, list(FEATURES), "rows", "at", of).select(list(FEATURES))


Past = list[tuple[datetime, str | None, float | None]]


def expected(at: datetime, who: str | None, value: float | None, past: Past) -> dict[str, object]:
    """By looking through everything; nobody is known by having no name."""
    mine = [] if who is None else [one for one in past if one[1] == who]

    def newest(rows: Past) -> tuple[datetime, str | None, float | None] | None:
        return max(rows, key=lambda one: one[0]) if rows else None

    def within(rows: Past, over: float, lag: float = 0.0) -> Past:
        end = at - timedelta(hours=lag)
        return [one for one in rows if end - timedelta(hours=over) <= one[0] < end]

    def known(rows: Past) -> list[float]:
        return [one[2] for one in rows if one[2] is not None]

    then, anyone = (
        newest([one for one in mine if one[0] <= at]),
        newest([one for one in past if one[0] <= at]),
    )
    last, mean = newest(within(mine, 1.5)), known(within(mine, 3, 1))
    week = float(sum(known(within(mine, 168))))
    return {
        "twice": None if value is None else value * 2,
        "share": None if value is None or not week else value / week,
        "then": then and then[2],
        "lately": then[2] if then and then[0] >= at - timedelta(hours=2) else None,
        "anyone": anyone and anyone[1],
        "times": float(len(within(mine, 3))),
        "all_times": float(len(within(past, 1))),
        "mean": sum(mean) / len(mean) if mean else None,
        "week": week,
        "last": last and last[2],
    }


@settings(max_examples=150, deadline=None)
@given(rows=tables, past=tables)
def test_each_is_what_looking_through_everything_gives(
    rows: list[tuple[datetime, str | None, float | None]],
    past: list[tuple[datetime, str | None, float | None]],
) -> None:
    # One row at a time: which of several at once is the newest is another test's matter.
    single = {one[0]: one for one in past}
    known = list(single.values())
    for row, found in zip(rows, computed(frame(rows), frame(known)).to_dicts(), strict=True):
        for name, value in expected(*row, known).items():
            assert found[name] == pytest.approx(value), (name, row)


@settings(max_examples=100, deadline=None)
@given(rows=tables, past=tables, order=st.randoms())
def test_one_row_alone_gets_the_same_numbers_as_in_a_training(
    rows: list[tuple[datetime, str | None, float | None]],
    past: list[tuple[datetime, str | None, float | None]],
    order: object,
) -> None:
    shuffled = list(past)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    few = history._FEW
    try:
        history._FEW = 0  # all rows together, by a join
        together = computed(frame(rows), frame(past))
    finally:
        history._FEW = few
    alone = [computed(frame([row]), frame(shuffled)) for row in rows]
    if alone:
        assert pl.concat(alone).equals(together, null_equal=True)


def test_sums_do_not_drift_where_nothing_is() -> None:
    past = frame([(START + timedelta(minutes=n), "a", 0.1) for n in range(1000)])
    row = frame([(START + timedelta(days=30), "a", 1.0)])
    assert computed(row, past)["week"].to_list() == [0.0]
    assert computed(row, past)["mean"].to_list() == [None]


def test_they_travel_as_data() -> None:
    for feature in FEATURES.values():
        assert from_json(to_json(feature)) == feature


def test_needs_follows_features_of_features() -> None:
    columns = {"at": 0, "who": 0, "value": 0}
    assert needs(FEATURES, ["share"], columns) == ["value", "who"]
    assert needs(FEATURES, ["all_times"], columns) == []


@pytest.mark.parametrize(
    ("feature", "says"),
    [
        ("amount +", "is no expression"),
        ("nothing + 1", "cannot be computed"),
        (AsOf("elsewhere", "value"), "there is no such dataset"),
        (AsOf("timeless", "value"), "has no time column"),
        (AsOf("things", "nothing"), "takes the column 'nothing'"),
        (AsOf("things", "value", by="nothing"), "goes by 'nothing'"),
        (Rolling("mean", "who", over="1h"), "it holds text"),
    ],
)
def test_what_cannot_be_computed_is_said(feature: str | Feature, says: str) -> None:
    def declare() -> None:
        dataset = Dataset(
            "things",
            source=Files("*.csv"),
            contract={"at": Time(), "who": str, "value": Number()},
            time="at",
            features={"made": feature},
        )
        contracts = {"things": dataset.contract, "timeless": dataset.contract}
        fields(dataset.features, "things", contracts, {"things": "at", "timeless": None})

    with pytest.raises(Invalid, match=says):
        declare()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("median", "value"), "no statistic"),
        (("count", "value"), "counts rows"),
        (("mean",), "needs a column"),
    ],
)
def test_a_window_is_declared_as_a_whole(arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        Rolling(*arguments, over="1d")  # type: ignore[arg-type]
