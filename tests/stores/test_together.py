"""Small transactions, committed together: each is there when it returns, what fails undoes nothing of the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, func, insert, select

from modelworks.core.clock import system_clock
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.tables import watermarks


@pytest.fixture
def ledger(tmp_path: Path, ledger_url: str) -> Iterator[Ledger]:
    made = Ledger(ledger_url or f"sqlite:///{tmp_path / 'ledger.db'}")
    yield made
    made.close()


def mark(ledger: Ledger, name: str) -> str:
    def work(db: Connection) -> str:
        db.execute(insert(watermarks).values(name=name, moment=system_clock()))
        if name.endswith("bad"):
            raise ValueError(name)
        return name

    return ledger.together(work)


def names(ledger: Ledger) -> set[str]:
    with ledger.read() as db:
        return set(db.scalars(select(watermarks.c.name)))


def test_each_is_committed_when_it_returns(ledger: Ledger) -> None:
    """From many threads at once, some of which fail."""
    missing, failed = [], []

    def many(number: int) -> None:
        for i in range(30):
            name = f"{number}-{i}{'-bad' if i % 7 == 3 else ''}"
            try:
                assert mark(ledger, name) == name
            except ValueError as error:
                failed.append(str(error))
                continue
            if name not in names(ledger):
                missing.append(name)

    threads = [threading.Thread(target=many, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missing == []
    wanted = {f"{number}-{i}" for number in range(6) for i in range(30) if i % 7 != 3}
    assert names(ledger) == wanted
    assert sorted(failed) == sorted(
        f"{number}-{i}-bad" for number in range(6) for i in range(30) if i % 7 == 3
    )


def test_many_are_committed_at_once(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    commits = 0
    with ledger.write() as db:
        assert db.scalar(select(func.count()).select_from(watermarks)) == 0
    begun, going = threading.Event(), threading.Event()

    def slow(db: Connection) -> None:
        begun.set()
        going.wait(30)

    first = threading.Thread(target=ledger.together, args=(slow,))
    first.start()
    begun.wait(30)
    others = [threading.Thread(target=mark, args=(ledger, f"n{i}")) for i in range(20)]
    for thread in others:
        thread.start()
    while len(ledger.together._waiting) < 20:
        pass

    @event.listens_for(ledger.engine, "commit")
    def _count(_db: Connection) -> None:
        nonlocal commits
        commits += 1

    going.set()
    for thread in (first, *others):
        thread.join()
    assert len(names(ledger)) == 20
    assert commits <= 3
    ledger.close()
