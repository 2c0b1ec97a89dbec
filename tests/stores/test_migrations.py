"""Ledgers grow older with the code: nothing is lost, nothing half done, and no change of a table is forgotten."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import JSON, Engine, create_engine, event, insert, inspect, select, text
from tests.older import content, make_older

from modelworks.core.clock import system_clock
from modelworks.core.errors import Conflict, Unavailable
from modelworks.stores.ledger import Ledger, tables
from modelworks.stores.ledger.migrate import config
from modelworks.stores.ledger.migrations.first import schema
from modelworks.stores.ledger.revisions import HEAD, KNOWN, copies

OLDEST = {
    "campaigns": ("plan", "by", "seconds", "closed", "total", "left", "artifacts"),
    "dataset_versions": ("epoch", "replaced", "offered", "warnings", "newest", "files", "erased", "dropped"),
    "tokens": ("models", "rate", "quota"),
    "windows": ("output_sum", "loss_sum", "loss_squares"),
}
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["modelworks.stores.ledger.migrate"])
HINT = "a change of a table needs a migration: see CONTRIBUTING.md, 'Change a table of the ledger'"


@pytest.fixture
def url(ledger_url: str, tmp_path: Path) -> str:
    return ledger_url or f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()


def described(engine: Engine) -> dict[str, list[str]]:
    """A schema as its database tells it, in no order."""
    look, found = inspect(engine), {}
    for name in set(look.get_table_names()) - {"alembic_version"}:
        said = [f"{one['name']} {one['type']} {one['nullable']}" for one in look.get_columns(name)]
        said += [f"unique {one['column_names']}" for one in look.get_unique_constraints(name)]
        for one in look.get_indexes(name):
            more = [f"{option} {value}" for option, value in one.get("dialect_options", {}).items()]
            said.append(f"index {one['name']} {one['column_names']} {one['unique']} {sorted(more)}")
        found[name] = [str(look.get_pk_constraint(name)["constrained_columns"]), *sorted(said)]
    return found


def test_the_tables_in_the_code_are_those_after_all_migrations(url: str, engine: Engine) -> None:
    Ledger(url).close()
    with engine.begin() as db:
        assert compare_metadata(MigrationContext.configure(db), tables.metadata) == [], HINT
    migrated = described(engine)
    with engine.begin() as db:
        for name in migrated:
            db.execute(text(f'drop table "{name}"'))
        tables.metadata.create_all(db)
    assert migrated == described(engine), HINT  # what Alembic does not compare: keys, conditions of indexes


def test_revisions_are_numbered_one_after_another() -> None:
    assert [f"{number + 1:04d}" for number in range(len(KNOWN))] == KNOWN


def value(column: Any, number: int) -> Any:
    kind = dict if isinstance(column.type, JSON) else column.type.python_type
    made: dict[type, Any] = {
        dict: {"n": number, "é": [1.5, None]}, str: f"v{number}", int: number, float: number + 0.25,
        bool: bool(number % 2), bytes: bytes([0, number, 255]),
    }  # fmt: skip
    return made[kind] if kind in made else system_clock().replace(tzinfo=None)


def fill(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Make an old ledger with rows in every table, told back as they stand there."""
    make_older(engine, (), {})
    with engine.begin() as db:
        for table in schema.sorted_tables:
            db.execute(insert(table), [{c.name: value(c, number) for c in table.c} for number in (1, 2, 3)])
    make_older(engine, columns=OLDEST)
    with engine.begin() as db:  # one that is in no use any more, and must not be empty
        db.execute(text("alter table windows add column output_mean float not null default 0.5"))
        for table in ("alerts", "audit", "decisions") if db.dialect.name == "postgresql" else ():
            db.execute(text(f"select setval(pg_get_serial_sequence('{table}', 'id'), 3)"))
    return content(engine)


def test_an_old_ledger_loses_nothing_and_goes_on(url: str, engine: Engine, tmp_path: Path) -> None:
    before = fill(engine)
    ledger = Ledger(url)
    after = content(engine)
    for name, rows in before.items():
        if name != "alembic_version":
            kept = [
                {column: row[column] for column in old} for old, row in zip(rows, after[name], strict=True)
            ]
            assert kept == rows
    assert [one["version_num"] for one in after["alembic_version"]] == [HEAD]
    assert after["leases"] == after["truths"] == after["checkpoints"] == []
    assert {(one["by"], one["seconds"], one["closed"]) for one in after["campaigns"]} == {
        ("person", 0.0, None)
    }
    assert [one["epoch"] for one in after["dataset_versions"]] == [1, 2, 3]
    assert [one["models"] for one in after["tokens"]] == [[]] * 3
    with engine.begin() as db:
        found = compare_metadata(MigrationContext.configure(db), tables.metadata)
        assert [(one[0], one[3].name) for one in found] == [("remove_column", "output_mean")]
    now = system_clock()
    with ledger.write() as db:  # numbers go on after those that are there; what is in no use may be empty
        alert = insert(tables.alerts).values(
            model="m", segment="", kind="drift", severity="info", message="", evidence={}, opened=now
        )
        assert db.execute(alert.returning(tables.alerts.c.id)).scalar_one() == 4
        db.execute(
            insert(tables.windows).values(
                model="m", start=now, segment="", version=1, rows=0, labelled=0, output_sum=0.0, loss_sum=0.0,
                loss_squares=0.0, sketch=b"",
            )
        )  # fmt: skip
    ledger.close()


def test_a_ledger_that_lacks_nothing_is_only_stamped(engine: Engine) -> None:
    make_older(engine, (), {})
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *told: statements.append(told[2].lower()))
    with engine.begin() as db:
        command.upgrade(config(db), "0002")
        assert db.scalar(text("select version_num from alembic_version")) == "0002"
    assert [one for one in statements if one.startswith(("create", "drop", "alter"))] == []


def test_a_ledger_that_is_newer_is_refused(url: str, engine: Engine) -> None:
    Ledger(url).close()
    with engine.begin() as db:
        db.execute(text("update alembic_version set version_num = '9999'"))
    before = content(engine)
    with pytest.raises(Conflict) as refused:
        Ledger(url)
    assert refused.value.what == "the ledger is newer than this Modelworks"
    assert "'9999'" in refused.value.why
    assert HEAD in refused.value.why
    assert "pip install --upgrade" in refused.value.fix
    assert content(engine) == before


def test_a_copy_from_before_the_upgrade_stays(tmp_path: Path) -> None:
    database = tmp_path / "ledger.db"
    engine = create_engine(f"sqlite:///{database}")
    before = fill(engine)
    older = tmp_path / "ledger-before-0001.db"
    older.write_text("of an earlier upgrade")
    ledger = Ledger(f"sqlite:///{database}")
    assert copies(database) == [tmp_path / f"ledger-before-{HEAD}.db"] == ledger.copies
    assert not older.exists()
    copied = create_engine(f"sqlite:///{copies(database)[0]}")
    assert content(copied) == before
    copied.dispose()
    ledger.close()
    Ledger(f"sqlite:///{tmp_path / 'new.db'}").close()
    assert copies(tmp_path / "new.db") == []  # there was nothing to lose
    engine.dispose()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    """Two rows that the key of today does not tell apart."""
    database = tmp_path / "ledger.db"
    engine = create_engine(f"sqlite:///{database}")
    make_older(engine)
    with engine.begin() as db:
        db.execute(text("drop table dataset_tags"))
        db.execute(text("create table dataset_tags (dataset text, tag text, version integer)"))
        db.execute(text("insert into dataset_tags values ('d', 't', 1), ('d', 't', 2)"))
    before = content(engine)
    with pytest.raises(Unavailable, match="the ledger cannot be opened"):
        Ledger(f"sqlite:///{database}")
    assert content(engine) == before
    engine.dispose()


def test_the_tables_of_somebody_else_are_not_touched(url: str, engine: Engine) -> None:
    with engine.begin() as db:
        db.execute(text("create table runs (id integer primary key, distance float)"))
        db.execute(text("insert into runs values (1, 42.195)"))
    with pytest.raises(Unavailable, match="already exists"):
        Ledger(url)
    assert content(engine) == {"runs": [{"id": 1, "distance": 42.195}]}


def _open(url: str, gate: Any, results: Any) -> None:
    """Open it together with others, and say how many statements changed the schema."""
    changes: list[str] = []
    event.listen(
        Engine,
        "before_cursor_execute",
        lambda *told: changes.append(told[2]) if told[2].lower().startswith(("create", "drop")) else None,
    )
    gate.wait()
    try:
        Ledger(url).close()
        results.put(len(changes))
    except BaseException as error:
        results.put(repr(error))
        raise


def test_of_many_who_open_an_old_ledger_one_migrates(url: str, engine: Engine) -> None:
    fill(engine)
    gate, results = PROCESSES.Barrier(3), PROCESSES.Queue()
    processes = [PROCESSES.Process(target=_open, args=(url, gate, results)) for _ in range(3)]
    for process in processes:
        process.start()
    changes = sorted(results.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    assert changes[:2] == [0, 0]
    assert changes[2] > 0
    assert content(engine)["alembic_version"] == [{"version_num": HEAD}]


def _die(url: str, after: int) -> None:
    """Open it and be killed at a statement; end by oneself where there are fewer."""
    number = 0

    def count(*_: Any) -> None:
        nonlocal number
        number += 1
        if number == after:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", count)
    Ledger(url).close()


@pytest.mark.fault
def test_killed_at_any_statement_of_a_migration(url: str, engine: Engine) -> None:
    before, statement, killed = fill(engine), 1, 0
    while True:
        process = PROCESSES.Process(target=_die, args=(url, statement))
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        engine.dispose()
        with engine.connect() as db:
            stamped = db.scalar(text("select version_num from alembic_version"))
        if stamped == HEAD:  # it was committed, and killed after that
            break
        assert content(engine) == before
        killed += 1
        statement += 1 + statement // 3
    assert killed > 8
    ledger = Ledger(url)
    assert ledger.revision() == HEAD
    with ledger.read() as db:
        assert len(db.execute(select(tables.campaigns)).all()) == 3
        if db.dialect.name == "sqlite":
            assert db.scalar(text("pragma integrity_check")) == "ok"
    ledger.close()
