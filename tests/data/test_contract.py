"""Rows held against a contract: every row is either good and typed, or bad and kept with its reason."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelworks.core.errors import Invalid
from modelworks.core.schema import Bool, ColumnSpec, Kind, Number, Text, Time, as_field
from modelworks.data.checks import CHECKS, in_order
from modelworks.data.contract import BAD, TYPES, Held, hold


def held(frame: pl.DataFrame, contract: Mapping[str, ColumnSpec], key: str | None = None) -> Held:
    return hold(frame, {name: as_field(name, spec) for name, spec in contract.items()}, key)


def one(value: Any, spec: ColumnSpec, kind: Any = None) -> Any:
    """What becomes of one value: the typed value, or the reason."""
    result = held(pl.DataFrame({"c": pl.Series([value], dtype=kind)}), {"c": spec})
    return result.good["c"].item() if len(result.good) else result.bad["reason"].item()


MOMENT = datetime(2013, 1, 1, 5, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "spec", "becomes"),
    [
        ("1.5", float, 1.5),
        (" 7 ", float, 7.0),
        ("1e3", int, 1000),
        ("9007199254740993", int, 9007199254740993),  # above 2^53
        ("seven", float, "c is not a number"),
        ("nan", float, "c is not a number"),
        ("inf", float, "c is infinite"),
        (float("-inf"), float, "c is infinite"),
        (float("nan"), float, "c is missing"),
        (float("nan"), Number(nullable=True), None),
        (None, float, "c is missing"),
        (None, Number(nullable=True), None),
        (3, float, 3.0),
        (2.0, int, 2),
        (2.5, int, "c is not an integer"),
        (1e300, int, "c is not an integer"),
        ("2.5", int, "c is not an integer"),
        (True, int, 1),
        (-1, Number(min=0), "c is not at least 0"),
        (0, Number(min=0), 0.0),
        (3, Number(max=2), "c is not at most 2"),
        (3, Number(min=0, max=2), "c is not at least 0 and at most 2"),
        (None, Number(min=0, nullable=True), None),
        ("a", str, "a"),
        (5, str, "5"),
        ("x", Text(allowed=["a", "b"]), "c is none of a, b"),
        ("a", Text(allowed=["a", "b"]), "a"),
        (None, Text(allowed=["a"], nullable=True), None),
        (None, Text(allowed=["a"]), "c is missing"),
        (True, bool, True),
        ("False", bool, False),
        (1, bool, True),
        (2, bool, "c is not a bool"),
        ("yes", Bool(nullable=True), "c is not a bool"),
        (MOMENT, Time(), MOMENT),
        (MOMENT.replace(tzinfo=None), datetime, MOMENT),
        (date(2013, 1, 1), Time(), datetime(2013, 1, 1, tzinfo=UTC)),
        ("2013-01-01T05:30:00Z", Time(), MOMENT),
        ("2013-01-01 05:30:00", Time(), MOMENT),
        ("2013-01-01T05:30", Time(), MOMENT),
        ("2013-01-01T07:30:00+02:00", Time(), MOMENT),
        ("2013-01-01T05:30:00.250", Time(), MOMENT + timedelta(milliseconds=250)),
        ("2013-01-01", Time(), datetime(2013, 1, 1, tzinfo=UTC)),
        ("1/2/2013", Time(), "c is not a time"),
        (20130101, Time(), "c is not a time"),
        ([1, 2], float, "c is not a number"),
        ({"a": 1}, str, "c is not a text"),
        (b"\xff\x00", str, "c is not a text"),
        (timedelta(1), float, "c is not a number"),
    ],
)
def test_a_value(value: Any, spec: ColumnSpec, becomes: Any) -> None:
    assert one(value, spec) == becomes


def test_a_time_of_another_zone_and_unit() -> None:
    local = pl.Series([datetime(2013, 1, 1, 0, 30)], dtype=pl.Datetime("ms")).dt.replace_time_zone(
        "America/New_York"
    )
    result = held(pl.DataFrame({"c": local}), {"c": Time()})
    assert result.good["c"].item() == MOMENT
    assert result.good.schema["c"] == pl.Datetime("us", "UTC")


def test_bad_rows_are_kept_whole_with_where_and_why() -> None:
    frame = pl.DataFrame(
        {"id": ["a", "b", "c"], "n": [1.0, float("inf"), -2.0], "raw": [b"\x00", b"\xff", None]}
    )
    result = held(frame, {"id": str, "n": Number(min=0)}, "id")
    assert result.good.rows() == [("a", 1.0)]
    assert list(result.bad.columns) == list(BAD)
    assert result.bad.select("reason", "column", "value", "number").rows() == [
        ("n is infinite", "n", "inf", 1),
        ("n is not at least 0", "n", "-2.0", 2),
    ]
    assert [orjson.loads(row) for row in result.bad["row"]] == [
        {"id": "b", "n": "inf", "raw": "/w=="},
        {"id": "c", "n": "-2.0", "raw": None},
    ]


def test_the_first_of_a_key_stays() -> None:
    frame = pl.DataFrame({"id": ["a", "a", "b", "b", None], "n": [1, 2, -1, 4, 5]})
    result = held(frame, {"id": str, "n": Number(min=0)}, "id")
    # A row that was refused for another reason does not stand in the way of a good one.
    assert result.good.rows() == [("a", 1.0), ("b", 4.0)]
    assert result.bad["reason"].to_list() == [
        "id came before, and is the key",
        "n is not at least 0",
        "id is missing",
    ]
    assert result.bad["number"].to_list() == [1, 2, 4]


def test_a_key_is_there_even_where_its_column_may_be_null() -> None:
    result = held(pl.DataFrame({"id": [None, "a"]}), {"id": Text(nullable=True)}, "id")
    assert result.bad["reason"].to_list() == ["id is missing, and is the key"]


def test_a_column_that_is_not_there() -> None:
    frame = pl.DataFrame({"a": [1, 2]})
    with pytest.raises(Invalid, match="b, c: the contract's columns are missing; the rows have a"):
        held(frame, {"a": int, "b": str, "c": float})
    result = held(frame, {"a": int, "b": Text(nullable=True), "c": Number(nullable=True)})
    assert result.good.rows() == [(1, None, None), (2, None, None)]
    assert result.good.dtypes == [pl.Int64, pl.String, pl.Float64]


def test_no_rows() -> None:
    result = held(pl.DataFrame({"a": []}), {"a": int}, "a")
    assert (len(result.good), len(result.bad)) == (0, 0)
    assert result.good.schema == {"a": pl.Int64}


SPECS: dict[Kind, list[ColumnSpec]] = {
    Kind.NUMBER: [float, Number(min=0, max=1), Number(nullable=True)],
    Kind.INTEGER: [int, Number(integer=True, min=0, nullable=True)],
    Kind.TEXT: [str, Text(allowed=["a"]), Text(nullable=True)],
    Kind.BOOL: [bool, Bool(nullable=True)],
    Kind.TIME: [Time(), Time(nullable=True)],
}
COLUMNS = [
    pl.Series([1, None]), pl.Series([1.5, float("nan")]), pl.Series(["a", None]), pl.Series([True, None]),
    pl.Series([date(2020, 1, 1), None]), pl.Series([datetime(2020, 1, 1), None]), pl.Series([time(1), None]),
    pl.Series([timedelta(1), None]), pl.Series([b"\xff", None]), pl.Series([[1], None]), pl.Series([[b"\xff"], None]),
    pl.Series([{"a": 1}, None]), pl.Series([None, None]), pl.Series(["a", None], dtype=pl.Categorical),
    pl.Series(["a", None], dtype=pl.Enum(["a"])), pl.Series(["1.5", None]).cast(pl.Decimal(10, 2)),
    pl.Series([2**63, None], dtype=pl.UInt64), pl.Series([1, None], dtype=pl.Int8),
    pl.Series([object(), None], dtype=pl.Object),
    pl.Series([datetime(2020, 1, 1), None], dtype=pl.Datetime("ns", "Europe/Paris")),
    pl.Series([[1, 2], None], dtype=pl.Array(pl.Int64, 2)),
]  # fmt: skip


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: str(column.dtype))
@pytest.mark.parametrize("kind", Kind)
def test_any_column_meets_any_contract(column: pl.Series, kind: Kind) -> None:
    frame = pl.DataFrame({"c": column, "other": column})
    for spec in SPECS[kind]:
        result = held(frame, {"c": spec})
        assert len(result.good) + len(result.bad) == 2
        assert result.good.schema == {"c": TYPES[kind]}
        assert not result.bad["reason"].is_null().any()
        assert all(set(orjson.loads(row)) == {"c", "other"} for row in result.bad["row"])


values = (
    st.none()
    | st.integers(-5, 5)
    | st.floats(-5, 5)
    | st.sampled_from(["a", "b", "1", "x", "", "2020-01-01"])
)


@given(st.lists(st.tuples(values, values), max_size=20), st.booleans())
@settings(max_examples=80, deadline=None)
def test_no_row_is_lost_or_let_through(rows: list[tuple[Any, Any]], keyed: bool) -> None:
    as_text = [tuple(None if value is None else str(value) for value in row) for row in rows]
    frame = pl.DataFrame(as_text, schema={"k": pl.String, "n": pl.String}, orient="row")
    result = held(frame, {"k": str, "n": Number(min=0, nullable=True)}, "k" if keyed else None)

    def number(text: str | None) -> float | None:
        try:
            return None if text is None else float(text)
        except ValueError:
            return -1.0

    seen: set[str] = set()
    expected = []
    for k, n in as_text:
        if k is None or (n is not None and not (number(n) or 0) >= 0):
            continue
        if keyed and k in seen:
            continue
        seen.add(k)
        expected.append((k, number(n)))
    assert result.good.rows() == expected
    assert len(result.bad) == len(rows) - len(expected)
    kept = {row["number"]: orjson.loads(row["row"]) for row in result.bad.to_dicts()}
    assert all(kept[number] == {"k": as_text[number][0], "n": as_text[number][1]} for number in kept)


@pytest.mark.parametrize("name", list(CHECKS))
@pytest.mark.parametrize("kind", Kind)
def test_every_check_keeps_the_ports_promises(name: str, kind: Kind) -> None:
    """A check answers true or false on every row, never null, and says what is wrong."""
    check = CHECKS[name]
    assert check.name == name
    for spec in SPECS[kind]:
        field = as_field("c", spec)
        broken = check.breaks(field)
        if broken is not None:
            empty = pl.Series([None, None], dtype=TYPES[kind])
            answer = pl.DataFrame({"c": empty, "\x00raw:c": ["as it came", None]}).select(broken).to_series()
            assert answer.dtype == pl.Boolean
            assert answer.null_count() == 0
            assert check.says(field)


def test_checks_come_in_the_order_of_the_catalog() -> None:
    assert [check.name for check in in_order()] == list(CHECKS.own)
