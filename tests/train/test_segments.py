"""Each segment gets exactly its rows, in the order of time, at every level."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelworks.core.errors import Invalid
from modelworks.models.definition import Definition
from modelworks.train.columns import Columns, to_frame, write
from modelworks.train.segments import TARGET, TIME, chosen, select, slices, split

START = datetime(2013, 1, 1, tzinfo=UTC)


def definition(**changes: Any) -> Definition:
    given = {"name": "m", "dataset": "d", "target": "y", "features": ("row",), "fit": len, "per": ("a", "b")}
    return Definition(**{**given, **changes})


def rows_of(values: list[tuple[Any, Any, int, Any]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "a": [a for a, *_ in values],
            "b": [b for _, b, *_ in values],
            "when": [START + timedelta(minutes=minute) for *_, minute, _ in values],
            "y": [y for *_, y in values],
            "row": range(len(values)),
        },
        schema={
            "a": pl.String,
            "b": pl.Int64,
            "when": pl.Datetime("us", "UTC"),
            "y": pl.Int64,
            "row": pl.Int64,
        },
    )


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["UA", "AA", "", None, "ü,]"]),
        st.sampled_from([1, 2, 10, None]),
        st.integers(0, 50),
        st.sampled_from([0, 1, None]),
    ),
    max_size=80,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=ROWS, min_rows=st.integers(1, 8), as_of=st.none() | st.integers(0, 50))
def test_each_segment_has_exactly_its_rows(
    values: list[tuple[Any, Any, int, Any]], min_rows: int, as_of: int | None, tmp_path: Path
) -> None:
    present = None if as_of is None else START + timedelta(minutes=as_of)
    rows = select(definition(), rows_of(values), time="when", as_of=present)
    stored = Columns(write(rows.frame, tmp_path / "rows.arrow"))
    expected: dict[tuple[str, ...], set[int]] = {}
    for number, (a, b, minute, y) in enumerate(values):
        if y is not None and (as_of is None or minute < as_of):
            full = (a or "", "" if b is None else str(b))
            for level in range(3):
                expected.setdefault(full[:level], set()).add(number)
    found = slices(rows, min_rows)
    assert {part.segment for part in found} == {
        segment for segment, members in expected.items() if len(members) >= min_rows or not segment
    }
    for part in chosen(rows, list(expected)):
        at = np.arange(part.offset, part.offset + part.length)
        assert set(stored.values("row", at).tolist()) == expected[part.segment]
        assert part.length == len(expected[part.segment])
        if len(part.segment) == 2:
            assert (np.diff(stored.raw[TIME][at]) >= 0).all()


@given(st.lists(st.integers(0, 20), max_size=60), st.floats(0.01, 0.99))
def test_what_is_held_out_is_later_than_all_that_is_learned_from(times: list[int], holdout: float) -> None:
    time = np.sort(np.array(times, np.int64))
    cut = split(time, holdout)
    if len(time):
        assert cut < len(time)
        assert len(time) - cut >= round(len(time) * holdout)
    if cut:
        assert time[cut - 1] < time[cut]


def test_the_share_held_out_is_the_one_asked_for_where_no_times_are_tied() -> None:
    assert split(np.arange(100), 0.2) == 80
    assert split(np.arange(3), 0.01) == 2
    assert split(np.zeros(10, np.int64), 0.2) == 0


def test_a_window_counts_back_from_the_newest_row_or_from_the_present() -> None:
    frame = rows_of([("a", 1, minute, 1) for minute in range(60)])
    windowed = definition(window="10m", per=())
    assert select(windowed, frame, time="when").frame["row"].to_list() == list(range(49, 60))
    present = START + timedelta(minutes=30)
    rows = select(windowed, frame, time="when", as_of=present)
    assert rows.frame["row"].to_list() == list(range(20, 30))
    assert rows.since == int((START + timedelta(minutes=20)).timestamp() * 1e6)


def test_a_segment_without_rows_is_named_with_none() -> None:
    rows = select(definition(), rows_of([("a", 1, 0, 1)]), time="when")
    assert [part.length for part in chosen(rows, [("b",), ("a",), ("b",)])] == [0, 1]


def test_without_per_there_is_one_model() -> None:
    rows = select(definition(per=()), rows_of([("a", 1, 5, 1), ("b", 2, 3, 0)]), time="when")
    assert [(part.segment, part.length) for part in slices(rows, 100)] == [((), 2)]
    assert rows.frame["row"].to_list() == [1, 0]


def test_a_missing_column_and_a_time_that_is_none_are_refused() -> None:
    with pytest.raises(Invalid, match="missing: z"):
        select(definition(features=("z",)), rows_of([]), time="when")
    with pytest.raises(Invalid, match="holds no times"):
        select(definition(), rows_of([]), time="row")


def test_columns_come_back_as_a_fit_expects_them(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "number": [1.5, None, 2.5],
            "whole": [1, 2, 3],
            "gaps": [1, None, 3],
            "flag": [True, False, True],
            "text": ["b", None, "a"],
            "day": [START, None, START + timedelta(days=1)],
            "kind": pl.Series(["x", "y", "x"], dtype=pl.Categorical),
        }
    )
    columns = Columns(write(frame, tmp_path / "rows.arrow"))
    back = to_frame({name: columns.values(name, np.array([2, 1])) for name in frame.columns})
    assert back["number"].tolist()[0] == 2.5
    assert np.isnan(back["number"].tolist()[1])
    assert [str(kind) for kind in back.dtypes] == [
        "float64", "int64", "float64", "bool", "object", "datetime64[us]", "object",
    ]  # fmt: skip
    assert back["text"].tolist() == ["a", ""]
    assert back["kind"].tolist() == ["x", "y"]
    assert back["flag"].tolist() == [True, False]
    assert back["day"].isna().tolist() == [False, True]
    assert back["day"][0].to_pydatetime().replace(tzinfo=UTC) == START + timedelta(days=1)


def test_a_column_of_lists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be learned from"):
        write(pl.DataFrame({"x": [[1], [2]]}), tmp_path / "rows.arrow")


def test_the_target_is_kept_apart_from_the_features() -> None:
    rows = select(definition(), rows_of([("a", 1, 0, 1)]), time="when")
    assert rows.frame.columns == ["row", TARGET, TIME]
