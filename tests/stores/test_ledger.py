"""The ledger: opened by many at once, whole after a kill, one transaction at a time."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError

from modelworks.core.clock import system_clock
from modelworks.core.errors import Unavailable
from modelworks.stores.ledger import Ledger, tables
from modelworks.stores.ledger.portable import chunks, queue_up, upsert
from modelworks.stores.ledger.revisions import HEAD
from modelworks.stores.ledger.tables import watermarks

NOW = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["modelworks.stores"])


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'deep' / 'ledger.db'}"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    ledger = Ledger(url)
    yield ledger
    ledger.close()


def _alias(n: int, **more: Any) -> dict[str, Any]:
    return {"model": "m", "segment": "", "alias": f"a{n}", "version": n, "updated": NOW, **more}


def test_a_new_ledger_has_every_table(ledger: Ledger) -> None:
    with ledger.read() as db:
        assert {*tables.metadata.tables, "alembic_version"} == set(inspect(db).get_table_names())
        assert db.scalar(text("select version_num from alembic_version")) == HEAD
        assert db.scalar(text("pragma journal_mode")) == "wal"


def test_a_write_is_all_or_nothing(ledger: Ledger) -> None:
    def fail() -> None:
        with ledger.write() as db:
            db.execute(insert(tables.aliases).values(_alias(1)))
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError):
        fail()
    with ledger.read() as db:
        assert db.scalar(select(func.count()).select_from(tables.aliases)) == 0


def test_a_read_sees_one_moment(ledger: Ledger) -> None:
    count = select(func.count()).select_from(tables.aliases)
    with ledger.read() as db:
        assert db.scalar(count) == 0
        with ledger.write() as other:
            other.execute(insert(tables.aliases).values(_alias(1)))
        assert db.scalar(count) == 0
    with ledger.read() as db:
        assert db.scalar(count) == 1


def test_moments_come_back_in_utc(ledger: Ledger) -> None:
    east = timezone(timedelta(hours=5))
    with ledger.write() as db:
        upsert(db, tables.aliases, [_alias(1, updated=NOW.astimezone(east)), _alias(2)])
        found = db.scalars(select(tables.aliases.c.updated)).all()
        later = (
            select(func.count())
            .select_from(tables.aliases)
            .where(tables.aliases.c.updated >= NOW.astimezone(east))
        )
        assert db.scalar(later) == 2
    assert [moment.isoformat() for moment in found] == ["2024-05-01T12:00:00.123456+00:00"] * 2


def test_upsert(ledger: Ledger) -> None:
    with ledger.write() as db:
        upsert(db, tables.aliases, [])
        upsert(db, tables.aliases, [_alias(1), _alias(2)])
        upsert(db, tables.aliases, [_alias(1, version=10)])
        upsert(db, tables.aliases, [_alias(2, version=20), _alias(3)], keep=True)
        found = dict(db.execute(select(tables.aliases.c.alias, tables.aliases.c.version)).all())
    assert found == {"a1": 10, "a2": 2, "a3": 3}


def test_chunks_lose_nothing() -> None:
    assert [len(part) for part in chunks(range(1201))] == [500, 500, 201]
    assert [one for part in chunks(range(1201)) for one in part] == list(range(1201))
    assert list(chunks([])) == []


def test_a_place_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(Unavailable, match="the ledger cannot be opened"):
        Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


def test_a_file_that_is_no_ledger(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database at all, though long enough to look at" * 30)
    with pytest.raises(Unavailable, match="the ledger cannot be opened"):
        Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


def _open(url: str, gate: Any, results: Any) -> None:
    gate.wait()
    try:
        ledger = Ledger(url)
        with ledger.write() as db:
            db.execute(insert(tables.aliases).values(_alias(os.getpid())))
        results.put("opened")
    except BaseException as error:
        results.put(repr(error))
        raise


def test_processes_open_a_new_ledger_at_once(url: str) -> None:
    gate, results = PROCESSES.Barrier(4), PROCESSES.Queue()
    processes = [PROCESSES.Process(target=_open, args=(url, gate, results)) for _ in range(4)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == ["opened"] * 4
    for process in processes:
        process.join()
    with Ledger(url).read() as db:
        assert db.scalar(select(func.count()).select_from(tables.aliases)) == 4
        assert db.scalar(text("select count(*) from alembic_version")) == 1


def test_threads_open_a_new_ledger_at_once(url: str) -> None:
    gate = Barrier(6)

    def open_it(_: int) -> Ledger:
        gate.wait()
        return Ledger(url)

    with ThreadPoolExecutor(6) as pool:
        for ledger in pool.map(open_it, range(6)):
            ledger.close()


def _pairs(url: str, results: Any) -> None:
    """Write two rows a transaction, for ever, and tell each one that is committed."""
    ledger = Ledger(url)
    n = 0
    while True:
        with ledger.write() as db:
            db.execute(insert(tables.aliases).values(_alias(n, segment="left")))
            db.execute(insert(tables.aliases).values(_alias(n, segment="right")))
        results.send(n)
        n += 1


@pytest.mark.fault
def test_killed_in_the_middle_of_writing(url: str) -> None:
    Ledger(url).close()
    for _ in range(3):
        with Ledger(url).write() as db:
            db.execute(delete(tables.aliases))
        here, there = PROCESSES.Pipe()
        writer = PROCESSES.Process(target=_pairs, args=(url, there))
        writer.start()
        last = -1
        while last < 20:
            last = here.recv()
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        while here.poll():
            last = here.recv()
        with Ledger(url).read() as db:
            assert db.scalar(text("pragma integrity_check")) == "ok"
            rows = [set(db.scalars(select(tables.aliases.c.version).where(tables.aliases.c.segment == side)))
                    for side in ("left", "right")]  # fmt: skip
        assert rows[0] == rows[1]
        assert set(range(last + 1)) <= rows[0]


def _count_up(url: str, times: int) -> None:
    ledger = Ledger(url)
    for _ in range(times):
        with ledger.write() as db:
            queue_up(db, "numbers")
            last = db.scalar(select(func.max(tables.aliases.c.version)))
            db.execute(insert(tables.aliases).values(_alias((last or 0) + 1)))


def test_writers_wait_for_each_other(url: str) -> None:
    Ledger(url).close()
    processes = [PROCESSES.Process(target=_count_up, args=(url, 50)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    with Ledger(url).read() as db:
        assert sorted(db.scalars(select(tables.aliases.c.version))) == list(range(1, 151))


def test_a_unique_value_stays_unique(ledger: Ledger) -> None:
    row = {"name": "t", "digest": "d", "role": "reader", "models": [], "created": NOW}
    with ledger.write() as db:
        db.execute(insert(tables.tokens).values(row))
    with pytest.raises(IntegrityError), ledger.write() as db:
        db.execute(insert(tables.tokens).values(row | {"name": "other"}))


def test_alone_among_threads(ledger: Ledger) -> None:
    inside: list[int] = []

    def work(n: int) -> None:
        with ledger.alone("work"):
            inside.append(n)
            assert inside == [n]
            inside.clear()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(200)))


def test_two_works_go_on_beside_each_other(ledger: Ledger) -> None:
    done = Event()

    def other() -> None:
        with ledger.alone("other"):
            done.set()

    with ledger.alone("one"):
        Thread(target=other).start()
        assert done.wait(10)


def _hold(url: str, there: Any) -> None:
    with Ledger(url).alone("work"):
        there.send("inside")
        there.recv()


@pytest.mark.fault
def test_the_death_of_its_holder_sets_a_lock_free(ledger: Ledger, url: str) -> None:
    here, there = PROCESSES.Pipe()
    holder = PROCESSES.Process(target=_hold, args=(url, there))
    holder.start()
    assert here.recv() == "inside"
    entered = Event()

    def wait() -> None:
        with ledger.alone("work"):
            entered.set()

    waiting = Thread(target=wait)
    waiting.start()
    assert not entered.wait(0.2)
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    assert entered.wait(10)
    waiting.join()
    holder.join()


def test_a_read_is_a_snapshot(tmp_path: Path, ledger_url: str) -> None:
    ledger = Ledger(ledger_url or f"sqlite:///{tmp_path / 'ledger.db'}")
    number = select(func.count()).select_from(watermarks)
    with ledger.read() as db:
        assert db.scalar(number) == 0
        with ledger.write() as other:
            other.execute(insert(watermarks).values(name="one", moment=system_clock()))
        assert db.scalar(number) == 0
    with ledger.read() as db:
        assert db.scalar(number) == 1
    ledger.close()
