"""Leases: one at a time, taken over from the dead at once and from who hangs in time, and the fence that holds then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import TimeoutError as PoolTimeout

from modelworks.core.errors import Conflict
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.tables import leases, watermarks

HOLDER = """
import sys, threading
from datetime import timedelta
from modelworks.core.errors import Conflict
from modelworks.stores.ledger import Ledger

ledger = Ledger(sys.argv[1])
ledger.leases.length = timedelta(seconds=float(sys.argv[2]))
with ledger.leases.take("work") as lease:
    print("mine" if lease else "taken", flush=True)
    sys.stdin.readline()
    try:
        with ledger.write() as db:
            lease.confirm(db)
        print("written", flush=True)
    except Conflict as error:
        print(error, flush=True)
"""
STEPS = """
import sys
from sqlalchemy import func, insert, select
from modelworks.core.clock import system_clock
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.tables import watermarks

ledger, me = Ledger(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for step in range(40):
    with ledger.leases.take(f"step {step}") as lease:
        if lease is None:
            continue
        with ledger.read() as db:
            done = db.scalar(select(func.count()).where(watermarks.c.name.like(f"{step} by %")))
        if not done:
            with ledger.write() as db:
                lease.confirm(db)
                db.execute(insert(watermarks).values(name=f"{step} by {me}", moment=system_clock()))
"""


@pytest.fixture
def url(tmp_path: Path, ledger_url: str) -> str:
    return ledger_url or f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    made = Ledger(url)
    yield made
    made.close()


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def rows(ledger: Ledger) -> int:
    with ledger.read() as db:
        return db.scalar(select(func.count()).select_from(leases)) or 0


def test_one_at_a_time_and_nothing_is_left(ledger: Ledger, url: str) -> None:
    other = Ledger(url)
    with ledger.leases.take("work") as mine, other.leases.take("other work") as too:
        assert mine is not None
        assert too is not None
        assert ledger.leases.held("work")
        assert other.leases.held("work")
        for one in (ledger, other):
            with one.leases.take("work") as second:
                assert second is None
    assert not ledger.leases.held("work")
    with other.leases.take("work") as again:
        assert again is not None
    assert rows(ledger) == 0
    other.close()


def test_who_waits_gets_it_next(ledger: Ledger) -> None:
    order, inside = list[str](), threading.Event()

    def second() -> None:
        inside.set()
        with ledger.leases.take("work", wait=True) as lease:
            assert lease is not None
            order.append("second")

    with ledger.leases.take("work"):
        thread = threading.Thread(target=second)
        thread.start()
        inside.wait()
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


def test_what_works_longer_than_a_lease_keeps_it(ledger: Ledger) -> None:
    ledger.leases.length = timedelta(seconds=0.4)
    with ledger.leases.take("work") as lease:
        assert lease is not None
        with ledger.read() as db:
            first = db.scalar(select(leases.c.until))
        deadline = time.monotonic() + 30
        while True:
            with ledger.read() as db:
                if db.scalar(select(leases.c.until)) > first + ledger.leases.length:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with ledger.write() as db:
            lease.confirm(db)


def test_a_moment_without_connections_ends_no_renewing(ledger: Ledger) -> None:
    ledger.leases.length = timedelta(seconds=0.4)
    ledger.engine.pool._timeout = 0.01  # type: ignore[attr-defined]
    with ledger.leases.take("work") as lease, ExitStack() as busy:
        assert lease is not None
        while True:  # all of them
            try:
                busy.enter_context(ledger.engine.connect())
            except PoolTimeout:
                break
        time.sleep(ledger.leases.length.total_seconds())
        busy.close()
        with ledger.read() as db:
            first = db.scalar(select(leases.c.until))
        deadline = time.monotonic() + 10
        while True:
            with ledger.read() as db:
                if db.scalar(select(leases.c.until)) > first:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_who_lives_stays_present_when_its_connection_breaks(ledger: Ledger, url: str) -> None:
    if ledger.engine.dialect.name != "postgresql":
        pytest.skip("of an embedded ledger presence is a lock of the operating system")
    other = Ledger(url)
    with ledger.leases.take("work") as lease:
        assert lease is not None
        with other.engine.connect() as db:
            here = "database = (select oid from pg_database where datname = current_database())"
            holders = f"from pg_locks where locktype = 'advisory' and {here}"
            assert db.scalar(text(f"select pg_terminate_backend(pid, 10000) {holders}"))
        with ledger.leases.take("other work") as too:
            assert too is not None
        with other.leases.take("work") as second:
            assert second is None
        with ledger.write() as db:
            lease.confirm(db)
    other.close()


@pytest.mark.fault
def test_the_dead_lose_it_at_once(ledger: Ledger, url: str) -> None:
    with start(HOLDER, url, "3600") as holder:
        assert said(holder) == "mine"
        with ledger.leases.take("work") as lease:
            assert lease is None
        holder.kill()
    with ledger.leases.take("work", wait=True) as lease:  # PostgreSQL hears of it a moment later
        assert lease is not None
    assert rows(ledger) == 0


@pytest.mark.fault
def test_who_hangs_loses_it_in_time_and_writes_nothing_more(ledger: Ledger, url: str) -> None:
    with start(HOLDER, url, "1") as holder:
        assert said(holder) == "mine"
        os.kill(holder.pid, signal.SIGSTOP)
        with ledger.leases.take("work", wait=True) as lease:
            assert lease is not None
            os.kill(holder.pid, signal.SIGCONT)
            told, _ = holder.communicate("\n", timeout=60)
            assert told.startswith("'work' was taken over by another process")
            with ledger.write() as db:
                lease.confirm(db)
    assert holder.returncode == 0


@pytest.mark.fault
def test_two_processes_never_do_the_same_step_twice(ledger: Ledger, url: str) -> None:
    both = [start(STEPS, url, name) for name in ("one", "other")]
    assert [said(one) for one in both] == ["ready", "ready"]
    for one in both:
        one.communicate("\n", timeout=120)
        assert one.returncode == 0
    with ledger.read() as db:
        done = [name.split()[0] for name in db.scalars(select(watermarks.c.name))]
    assert sorted(done, key=int) == [str(step) for step in range(40)]


def test_a_work_that_fails_gives_it_back(ledger: Ledger) -> None:
    with pytest.raises(ZeroDivisionError), ledger.leases.take("work"):
        _ = 1 / 0
    with ledger.leases.take("work") as lease:
        assert lease is not None
        with ledger.write() as db:
            lease.confirm(db)
    with ledger.write() as db, pytest.raises(Conflict):
        lease.confirm(db)
