"""Rules of a contract: what a breach leads to, rules over rows and over all that comes in, contracts that change."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from data_world import NOW, TRIPS, frame, open_station, stream_of_trips, trips, write
from hypothesis import given
from hypothesis import strategies as st

from modelworks.core.errors import Conflict, Invalid
from modelworks.core.schema import ColumnSpec, Number, Text, Time, as_field
from modelworks.data import profile
from modelworks.data.checks import RULES
from modelworks.data.checks.batch import Fresh, Rows, Steady
from modelworks.data.checks.port import BatchRule, Came, RowRule
from modelworks.data.checks.row import Rule
from modelworks.data.contract import Rejected, hold, strangers
from modelworks.data.dataset import Dataset
from modelworks.data.sources.files import Files
from modelworks.data.station import DataStation
from modelworks.demos.broker import Broker, Publisher


@pytest.fixture
def station(tmp_path: Path) -> Iterator[DataStation]:
    station, stores = open_station(tmp_path)
    yield station
    stores.ledger.close()


def ruled(*rules: Any, **columns: ColumnSpec) -> Dataset:
    return Dataset(
        "trips", source=Files("data/*"), contract=TRIPS | columns, key="id", time="start", rules=rules
    )


MAKE: dict[str, RowRule | BatchRule] = {
    "row": Rule("a < b"),
    "fresh": Fresh("1h"),
    "rows": Rows(min=1),
    "steady": Steady("a"),
}


@pytest.mark.parametrize("name", list(RULES))
def test_every_rule_keeps_the_ports_promises(name: str) -> None:
    rule = MAKE[name]
    assert isinstance(rule, RULES[name])  # type: ignore[arg-type]
    assert isinstance(rule, RowRule) != isinstance(rule, BatchRule)
    if isinstance(rule, RowRule):
        rows = pl.DataFrame({"a": [1.0, 3.0, None], "b": [2.0, 2.0, 2.0]})
        assert rows.select(rule.broken.fill_null(value=False)).to_series().to_list() == [False, True, False]
        assert rule.says
    else:
        contract = {"a": as_field("a", float), "t": as_field("t", Time())}
        assert set(rule.watches(contract, None, "t")) <= {"a"}
        full = np.array([50, 50, 0])
        came = Came(100, NOW, NOW, "d@1", {"a": full}, {"a": full})
        assert rule.judge(came) is None
        assert rule.judge(came) == rule.judge(came)


# -- what a breach leads to ------------------------------------------------------------------------------


def held(spec: ColumnSpec, values: list[Any]) -> Any:
    return hold(pl.DataFrame({"c": values}, strict=False), {"c": as_field("c", spec)}, None)


def test_a_warning_keeps_what_can_be_kept() -> None:
    result = held(Number(min=0, on_breach="warn"), ["1", "-2", "far", None])
    assert result.good["c"].to_list() == [1.0, -2.0]
    assert result.bad["reason"].to_list() == ["c is not a number", "c is missing"]
    assert result.warned == {"c is not at least 0": 1}
    assert held(Text(allowed=["a"], on_breach="warn"), ["a", "b", "b"]).warned == {"c is none of a": 2}


def test_a_rejection_lets_nothing_in() -> None:
    with pytest.raises(Rejected, match="c is not at least 0; in 2 of 3 rows"):
        held(Number(min=0, on_breach="reject"), [-1, 2, -3])
    assert len(held(Number(min=0, on_breach="reject"), [1, 2]).good) == 2


def test_a_file_that_is_rejected_is_not_taken_in_by_half(station: DataStation, tmp_path: Path) -> None:
    strict = ruled(distance=Number(min=0, on_breach="reject"))
    write(tmp_path, "1.csv", frame(0))
    write(tmp_path, "2.csv", frame(3, distance=[1, 2, -3]))
    report = station.ingest(strict)
    assert (report.rows_added, report.rows_quarantined) == (3, 0)
    assert "distance is not at least 0" in report.failed["data/2.csv"]
    assert station.ingest(strict).version is None  # it waits until it changes
    write(tmp_path, "2.csv", frame(3, distance=[1, 2, 3]))
    assert station.ingest(strict).rows_added == 3


def test_who_sends_what_is_rejected_is_told(station: DataStation) -> None:
    strict = ruled(distance=Number(min=0, on_breach="reject"))
    with pytest.raises(Rejected, match="the contract lets nothing in"):
        station.push(strict, frame(0, distance=[1, 2, -3]).to_dicts())
    assert station.latest_or_none("trips") is None
    report = station.push(strict, frame(0).to_dicts())
    assert (report.version, report.notes) == (1, ())  # nothing was left behind to be undone


def test_a_stream_goes_on_and_nothing_of_it_is_lost(station: DataStation, tmp_path: Path) -> None:
    with Broker(tmp_path / "broker") as broker, Publisher(broker.url, "TRIPS") as publisher:
        stream = stream_of_trips(broker.url)
        for rules, more in ((("distance < 5",), {}), ((Rows(max=2, on_breach="reject"),), {})):
            refusing = Dataset(
                "trips", source=stream.source, contract=TRIPS | more, key="id", time="start",
                rules=[Rule(one, on_breach="reject") if isinstance(one, str) else one for one in rules],
            )  # fmt: skip
            publisher.send(
                [b'{"id": "x%d", "start": "2024-05-01T00:00:00Z", "distance": 9}' % n for n in range(4)]
            )
            report = station.ingest(refusing)
            assert (report.rows_added, report.rows_quarantined, report.refused) == (0, 4, "")
            assert station.ingest(refusing).version is None
        kept = station.quarantined("trips")
        assert [row["number"] for row in kept] == [5, 6, 7, 8, 1, 2, 3, 4]
        assert {row["reason"] for row in kept} == {
            "nothing was let into trips",
            "the contract lets nothing in: breaks the rule distance < 5",
        }
        assert station.replay(stream).rows_added == 4  # of rows with one key the last stands


# -- over rows -------------------------------------------------------------------------------------------


def test_a_rule_over_rows(station: DataStation, tmp_path: Path) -> None:
    rule = Rule("colour = 'red' OR distance < 5", "a blue trip is short")
    write(tmp_path, "1.csv", frame(0, 4, distance=[9, 9, 1, 9], colour=["red", "blue", "blue", None]))
    report = station.ingest(ruled(rule, "id <> 't0'"))
    assert report.reasons == {"a blue trip is short": 1, "breaks the rule id <> 't0'": 1}
    assert report.rows_added == 2  # of one it cannot be told
    write(tmp_path, "2.csv", frame(4, distance=[9, 9, 1], colour=["blue"] * 3))
    report = station.ingest(ruled(Rule(rule.text, on_breach="warn")))
    assert (report.rows_added, report.warnings) == (3, {f"breaks the rule {rule.text}": 2})
    assert station.versions("trips", 1)[0].warnings == report.warnings


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (["distance <"], "is no rule"),
        (["weight > 1"], "cannot be applied"),
        (["distance + 1"], "cannot be applied"),
        (["1"], "is not true or false"),
        ([3], "has a rule that is none"),
        ([Steady("weight")], "mw.Steady watches 'weight'"),
    ],
)
def test_rules_that_cannot_be(rules: list[Any], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        ruled(*rules)


def test_limits_that_cannot_be() -> None:
    with pytest.raises(Invalid, match="choose one of reject, warn"):
        Rows(on_breach="quarantine")  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="choose one of quarantine, reject, warn"):
        as_field("c", Number(on_breach="stop"))  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="a limit that every column breaks"):
        Steady(by=0)
    with pytest.raises(Invalid, match="the dataset has none"):
        Dataset("d", source=Files("*"), contract={"a": float}, rules=[Fresh("1h")])


# -- over all that comes in ------------------------------------------------------------------------------


def test_freshness(station: DataStation, tmp_path: Path) -> None:
    fresh = ruled(Fresh("6h"))
    old = [NOW - timedelta(hours=8), NOW - timedelta(hours=7), NOW + timedelta(days=400)]
    write(tmp_path, "1.parquet", frame(0, start=old))
    says = "the newest row is of 2024-04-30 17:00 UTC, older than 6h"
    assert station.ingest(fresh).warnings == {says: 0}
    assert station.overdue(fresh) == f"nothing new has come into trips: {says}"
    write(tmp_path, "2.parquet", frame(3))
    assert station.ingest(fresh).warnings == {}
    assert station.overdue(fresh) is None
    assert station.overdue(ruled()) is None


def test_refused_as_a_whole_until_somebody_accepts(station: DataStation, tmp_path: Path) -> None:
    many = ruled(Rows(min=5, on_breach="reject"))
    write(tmp_path, "1.csv", frame(0))
    report = station.ingest(many)
    assert (report.version, report.rows_added) == (None, 0)
    assert "3 rows came, fewer than 5" in report.refused
    assert "modelworks ingest trips --accept" in report.refused
    assert station.ingest(many).refused == report.refused  # nothing was forgotten
    report = station.ingest(many, accept=True)
    assert (report.version, report.rows_added, report.warnings) == (1, 3, {"3 rows came, fewer than 5": 0})


def test_other_values_than_before(station: DataStation, tmp_path: Path) -> None:
    steady = ruled(Steady(on_breach="reject"))
    chance = np.random.default_rng(3)
    write(tmp_path, "1.parquet", frame(0, 4000, distance=chance.gamma(3, 2, 4000)))
    assert station.ingest(steady).rows_added == 4000
    write(tmp_path, "2.parquet", frame(4000, 500, distance=chance.gamma(3, 2, 500)))
    assert station.ingest(steady).rows_added == 500
    write(tmp_path, "3.parquet", frame(5000, 500, distance=chance.gamma(6, 2, 500), colour=[None] * 500))
    refused = station.ingest(steady).refused
    assert "other values than in trips@2: colour (PSI" in refused
    assert "distance (PSI" in refused


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 400), many=st.sampled_from([50, 1000, 20_000]))
def test_steady_is_not_fooled_by_few_rows(seed: int, rows: int, many: int) -> None:
    chance = np.random.default_rng(seed)
    share = chance.dirichlet(np.ones(12))
    before, now = chance.multinomial(many, share), chance.multinomial(rows, share)
    assert Steady(by=0.25).judge(Came(rows, None, NOW, "d@1", {"a": before}, {"a": now})) is None


@given(
    values=st.lists(st.one_of(st.none(), st.sampled_from("abcdefghijklmno")), min_size=1, max_size=80),
    numbers=st.lists(st.one_of(st.none(), st.floats(-9, 9)), min_size=1, max_size=80),
)
def test_a_profile_counts_its_own_rows_as_they_are_counted(
    values: list[str | None], numbers: list[float | None]
) -> None:
    for series, spec in (
        (pl.Series(values, dtype=pl.String), str),
        (pl.Series(numbers, dtype=pl.Float64), float),
    ):
        told = profile.column(series, as_field("c", spec).kind)
        counted = profile.counts(series, told)
        assert counted.tolist() == profile.kept_counts(told, len(series)).tolist()
        assert counted.sum() == len(series)


# -- contracts that change -------------------------------------------------------------------------------


def test_what_the_source_has_beside_is_offered() -> None:
    rows = {
        "whole": ["1", "2"], "number": ["1.5", None], "day": ["2024-01-01", "2024-01-02"],
        "yes": ["true", "false"], "word": ["1", "b"], "none": [None, None], "float": [1.0, 2.0], "bool": [True, False],
    }  # fmt: skip
    assert strangers(pl.DataFrame(rows), {}) == {
        "whole": "mw.Number(integer=True, nullable=True)",
        "number": "mw.Number(nullable=True)",
        "day": "mw.Time(nullable=True)",
        "yes": "mw.Bool(nullable=True)",
        "word": "mw.Text(nullable=True)",
        "none": "mw.Text(nullable=True)",
        "float": "mw.Number(nullable=True)",
        "bool": "mw.Bool(nullable=True)",
    }


def test_a_contract_becomes_narrower_only_where_the_rows_fit(station: DataStation, tmp_path: Path) -> None:
    write(tmp_path, "1.csv", frame(0, distance=[1, 5, 9], colour=["red", None, "red"]))
    station.ingest(ruled())
    write(tmp_path, "2.csv", frame(3, distance=[7, 7, 7]))
    with pytest.raises(Conflict, match="cannot become narrower in distance; 1 of the 3 rows"):
        station.ingest(ruled(distance=Number(min=2)))
    with pytest.raises(Conflict, match="cannot become narrower in colour; 1 of the 3 rows"):
        station.ingest(ruled(colour=Text(allowed=["red", "blue"])))
    report = station.ingest(ruled(distance=Number(min=1, max=9), colour=Text(allowed=["red"], nullable=True)))
    assert report.rows_added == 3
    write(tmp_path, "3.csv", frame(6))
    report = station.ingest(ruled(distance=Number(min=2, on_breach="warn")))
    assert "1 rows from before break the new rules of distance" in report.notes
    assert report.warnings == {"distance is not at least 2": 3}


def test_a_column_that_is_new_or_gone_is_said(station: DataStation, tmp_path: Path) -> None:
    write(tmp_path, "1.csv", frame(0))
    station.ingest(trips())
    write(tmp_path, "2.csv", frame(3, size=[1, 2, 3]))
    contract = {name: spec for name, spec in TRIPS.items() if name != "colour"} | {"size": int}
    changed = Dataset("trips", source=Files("data/*"), contract=contract, key="id", time="start")
    assert station.ingest(changed).notes == (
        "the column size is new: the 3 rows from before have no value in it",
        "the column colour is not in the contract any more",
    )
    assert station.ingest(changed).notes == ()
    rows = station.read("trips").sort("id").collect()
    assert rows["colour"].to_list() == ["red"] * 3 + [None] * 3
