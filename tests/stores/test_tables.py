"""Delta tables: appended exactly once, by many at once, readable at any version."""

import multiprocessing
import os
import signal
from pathlib import Path
from threading import Thread
from typing import Any

import polars as pl
import pytest

from modelworks.core.errors import NotFound, Unavailable
from modelworks.stores.tables import DeltaTables

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["modelworks.stores"])


def rows(*values: int) -> pl.DataFrame:
    return pl.DataFrame({"n": pl.Series(values, dtype=pl.Int64)})


def numbers(tables: DeltaTables, version: int | None = None) -> list[int]:
    return sorted(tables.scan("t", version).collect()["n"].to_list())


@pytest.fixture
def tables(tmp_path: Path) -> DeltaTables:
    return DeltaTables(str(tmp_path / "tables"))


def test_no_table_yet(tables: DeltaTables) -> None:
    assert not tables.exists("t")
    assert tables.version("t") == -1
    assert tables.transactions("t", ["w"]) == {}
    assert tables.pack("t") is None
    tables.restore("t", 3)
    with pytest.raises(NotFound, match="there is no table t"):
        tables.scan("t")


def test_append_and_read_at_any_version(tables: DeltaTables) -> None:
    assert [tables.append("t", rows(n)).version for n in range(4)] == [0, 1, 2, 3]
    assert [numbers(tables, version) for version in range(4)] == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]
    assert numbers(DeltaTables(tables.root), 1) == [0, 1]
    for version in (4, 10**30):
        with pytest.raises(NotFound, match=f"t has no version {version}"):
            tables.scan("t", version)


def test_a_lazy_frame_of_a_version_stays_at_it(tables: DeltaTables) -> None:
    tables.append("t", rows(1))
    lazy = tables.scan("t", 0)
    tables.append("t", rows(2))
    assert lazy.collect()["n"].to_list() == [1]


def test_a_transaction_happens_once(tables: DeltaTables) -> None:
    assert tables.append("t", rows(1), ("w", 5)).applied
    again = tables.append("t", rows(1), ("w", 5))
    assert not again.applied
    assert again.version == tables.version("t")
    assert not tables.append("t", rows(1), ("w", 4)).applied
    assert not DeltaTables(tables.root).append("t", rows(1), ("w", 5)).applied
    assert tables.append("t", rows(2), ("other", 1)).applied
    assert tables.append("t", rows(3), ("w", 6)).applied
    assert numbers(tables) == [1, 2, 3]
    assert tables.transactions("t", ["w", "other", "nobody"]) == {"w": 6, "other": 1}


def test_a_transaction_survives_many_commits(tables: DeltaTables) -> None:
    tables.append("t", rows(-1), ("early", 1))
    for n in range(110):  # past a checkpoint of the log
        tables.append("t", rows(n), ("w", n))
    assert not DeltaTables(tables.root).append("t", rows(0), ("early", 1)).applied
    assert DeltaTables(tables.root).transactions("t", ["early", "w"]) == {"early": 1, "w": 109}


def test_a_new_column_is_null_in_older_rows(tables: DeltaTables) -> None:
    tables.append("t", rows(1))
    tables.append("t", pl.DataFrame({"n": [2], "more": ["x"]}))
    tables.append("t", rows(3))
    assert tables.scan("t").sort("n").collect()["more"].to_list() == [None, "x", None]


def test_rows_that_do_not_fit_are_an_error_at_once(tables: DeltaTables) -> None:
    tables.append("t", rows(1))
    with pytest.raises(Unavailable, match="rows could not be added to table t"):
        tables.append("t", pl.DataFrame({"n": ["text"]}))
    assert numbers(tables) == [1]


def test_compact_keeps_rows_and_versions(tables: DeltaTables) -> None:
    for n in range(10):
        tables.append("t", rows(n))
    packing = tables.pack("t", ["n"])
    assert packing is not None
    tables.append("t", rows(10))
    assert tables.swap("t", packing)
    assert not tables.swap("t", packing)
    assert numbers(tables) == list(range(11))
    assert tables.pack("t", at_least=3) is None
    assert numbers(tables, 3) == [0, 1, 2, 3]
    tables.append("t", rows(11), ("w", 1))
    assert numbers(tables) == list(range(12))


def test_restore(tables: DeltaTables) -> None:
    tables.append("t", rows(1))
    tables.append("t", rows(2), ("w", 1))
    tables.append("t", pl.DataFrame({"n": [3], "more": ["x"]}))
    tables.restore("t", 0)
    assert numbers(tables) == [1]
    assert numbers(tables, 2) == [1, 2, 3]
    tables.append("t", rows(4))
    assert numbers(tables) == [1, 4]
    tables.restore("t", -1)
    assert numbers(tables) == []
    tables.append("t", rows(5))
    assert numbers(DeltaTables(tables.root)) == [5]


def _append(root: str, writer: int, gate: Any) -> None:
    tables = DeltaTables(root)
    gate.wait()
    for n in range(12):
        assert tables.append("t", rows(writer * 1000 + n), (f"w{writer}", n)).applied


def test_four_processes_write_at_once(tables: DeltaTables) -> None:
    gate = PROCESSES.Barrier(4)
    writers = [PROCESSES.Process(target=_append, args=(tables.root, writer, gate)) for writer in range(4)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    assert [process.exitcode for process in writers] == [0] * 4
    assert numbers(tables) == sorted(writer * 1000 + n for writer in range(4) for n in range(12))


def _same(root: str, gate: Any, results: Any) -> None:
    tables = DeltaTables(root)
    for n in range(10):
        gate.wait()
        results.put((n, tables.append("t", rows(n), ("w", n)).applied))


def test_one_transaction_by_four_processes_at_once(tables: DeltaTables) -> None:
    gate, results = PROCESSES.Barrier(4), PROCESSES.Queue()
    writers = [PROCESSES.Process(target=_same, args=(tables.root, gate, results)) for _ in range(4)]
    for process in writers:
        process.start()
    applied = [results.get(timeout=60) for _ in range(40)]
    for process in writers:
        process.join()
    assert sorted(n for n, done in applied if done) == list(range(10))
    assert numbers(tables) == list(range(10))


def test_threads_share_tables(tables: DeltaTables) -> None:
    def append(writer: int) -> None:
        for n in range(8):
            tables.append("t", rows(writer * 100 + n), (f"w{writer}", n))

    def read() -> None:
        for _ in range(30):
            if tables.exists("t"):
                tables.scan("t").collect()

    threads = [Thread(target=append, args=(writer,)) for writer in range(3)] + [Thread(target=read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(tables) == sorted(writer * 100 + n for writer in range(3) for n in range(8))


def _append_for_ever(root: str, there: Any) -> None:
    tables = DeltaTables(root)
    n = tables.transactions("t", ["w"]).get("w", -1) + 1
    while True:
        tables.append("t", rows(n), ("w", n))
        there.send(n)
        n += 1


@pytest.mark.fault
def test_a_writer_killed_goes_on_where_it_was(tables: DeltaTables) -> None:
    last = -1
    for _ in range(3):
        here, there = PROCESSES.Pipe()
        writer = PROCESSES.Process(target=_append_for_ever, args=(tables.root, there))
        writer.start()
        while last < (goal := last + 5):
            last = here.recv()
            if last >= goal - 4:
                break
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        while here.poll():
            last = here.recv()
    found = numbers(tables)
    assert found == list(range(len(found)))
    assert last < len(found)
