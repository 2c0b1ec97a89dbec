"""Delta tables: appended exactly once, by many at once, readable at any version."""

import json
import multiprocessing
import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import polars as pl
import pytest

from modelworks.core.errors import Invalid, NotFound, Unavailable
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
    assert [tables.append("t", rows(n)).version for n in range(3)] == [1, 2, 3]
    assert [numbers(tables, version) for version in range(4)] == [[], [0], [0, 1], [0, 1, 2]]
    assert numbers(DeltaTables(tables.root), 2) == [0, 1]
    for version in (4, 10**30):
        with pytest.raises(NotFound, match=f"t has no version {version}"):
            tables.scan("t", version)


def test_a_lazy_frame_of_a_version_stays_at_it(tables: DeltaTables) -> None:
    lazy = tables.scan("t", tables.append("t", rows(1)).version)
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
    assert numbers(tables, 4) == [0, 1, 2, 3]
    tables.append("t", rows(11), ("w", 1))
    assert numbers(tables) == list(range(12))


def test_restore(tables: DeltaTables) -> None:
    first = tables.append("t", rows(1)).version
    tables.append("t", rows(2), ("w", 1))
    last = tables.append("t", pl.DataFrame({"n": [3], "more": ["x"]})).version
    tables.restore("t", first)
    assert numbers(tables) == [1]
    assert numbers(tables, last) == [1, 2, 3]
    tables.append("t", rows(4))
    assert numbers(tables) == [1, 4]
    tables.restore("t", -1)
    assert numbers(tables) == []
    tables.append("t", rows(5))
    assert numbers(DeltaTables(tables.root)) == [5]


PLACES = pytest.mark.parametrize("place", ["{}", "file://{}"], ids=["folder", "as a bucket"])


@PLACES
def test_rows_are_found_and_taken_out_by_what_they_hold(tmp_path: Path, place: str) -> None:
    tables = DeltaTables(place.format(tmp_path / "tables"))
    asked = pl.DataFrame({"n": [2, 5, 77]})
    assert len(tables.remove("t", asked)) == 0
    for start in (0, 4, 8):
        more = pl.DataFrame({"n": range(start, start + 4), "who": ["a", "b", None, "d"]})
        tables.append("t", more)
    before = tables.version("t")
    assert sorted(tables.find("t", asked)["n"]) == [2, 5]
    assert tables.find("t", asked, ["who", "nowhere"]).columns == ["who", "nowhere"]
    gone = tables.remove("t", asked, ["who"])
    assert sorted(gone["who"], key=str) == [None, "b"]
    assert numbers(tables) == [0, 1, 3, 4, 6, 7, 8, 9, 10, 11]
    assert tables.find("t", asked, version=before)["n"].sort().to_list() == [2, 5]
    # By several columns, where nothing agrees with nothing.
    there = pl.DataFrame({"n": [6, 9, 7], "who": [None, "b", "other"]})
    assert len(tables.remove("t", there)) == 2
    assert numbers(tables) == [0, 1, 3, 4, 7, 8, 10, 11]
    tables.append("t", rows(2))
    assert 2 in numbers(DeltaTables(tables.root))
    assert len(tables.remove("t", pl.DataFrame({"n": [99]}))) == 0
    assert len(tables.remove("t", tables.scan("t").select("n").collect())) == 9
    assert numbers(tables) == []


@PLACES
def test_packing_and_deleting_what_nobody_needs(tmp_path: Path, place: str) -> None:
    tables = DeltaTables(place.format(tmp_path / "tables"))
    at = [tables.append("t", rows(n)).version for n in (5, 3, 4, 1)]
    packing = tables.pack("t", ["n", "nowhere"])
    assert packing is not None
    assert tables.swap("t", packing)
    assert tables.vacuum("t", [], 1) == 0  # somebody may be reading them
    files = set((tmp_path / "tables" / "t").glob("*.parquet"))
    tables.vacuum("t", [at[1]], 0)
    assert len(files - set((tmp_path / "tables" / "t").glob("*.parquet"))) == 2
    assert numbers(tables, at[1]) == [3, 5]
    assert numbers(tables) == [1, 3, 4, 5]
    tables.vacuum("t", [], 0)
    assert numbers(DeltaTables(tables.root)) == [1, 3, 4, 5]
    assert len(list((tmp_path / "tables" / "t").glob("*.parquet"))) == 1
    tables.append("t", rows(9), ("w", 1))
    assert not DeltaTables(tables.root).append("t", rows(9), ("w", 1)).applied
    assert numbers(DeltaTables(tables.root)) == [1, 3, 4, 5, 9]


def test_packing_gives_way_to_a_correction(tables: DeltaTables) -> None:
    for n in range(4):
        tables.append("t", rows(n))
    packing = tables.pack("t")
    assert packing is not None
    tables.remove("t", rows(2))
    assert not tables.swap("t", packing)
    assert numbers(tables) == [0, 1, 3]


def test_packing_writes_a_row_few_times(tables: DeltaTables) -> None:
    """Of files that come one after the other, each row is written again a logarithmic number of times."""
    written = 0
    for n in range(0, 40_000, 500):
        tables.append("t", pl.DataFrame({"n": range(n, n + 500)}))
        packing = tables.pack("t", at_least=8)
        if packing is not None:
            written += sum(json.loads(add.stats)["numRecords"] for add in packing.adds)
            assert tables.swap("t", packing)
    assert len(numbers(tables)) == 40_000
    assert 40_000 < written < 5 * 40_000


def test_bounds_hold_what_is_in_the_file(tables: DeltaTables) -> None:
    """Whoever asks for a value finds it, however odd it is: long, infinite, no number, nothing."""
    nan, inf = float("nan"), float("inf")
    odd: dict[str, list[Any]] = {
        "text": ["a" * 100 + "z", "b", "", "\U0010ffff" * 70],
        "number": [nan, 1.0, 5.0, 2.0],
        "large": [inf, -inf, 0.0, 1.0],
        "when": [datetime(2024, 1, 1, 0, 0, 0, n, tzinfo=UTC) for n in range(4)],
        "flag": [True, False, None, True],
        "nothing": pl.Series([None] * 4, dtype=pl.Int64).to_list(),
    }
    frame = pl.DataFrame(odd, schema_overrides={"nothing": pl.Int64, "when": pl.Datetime("us", "UTC")})
    tables.append("t", frame.head(0))
    tables.append("t", frame)
    tables.append("t", frame.with_columns(text=pl.lit("else"), number=pl.lit(100.0)))
    for name, values in odd.items():
        for value in values:
            if value is None or value != value:
                continue
            found = tables.scan("t").filter(pl.col(name) == value).collect()
            assert len(found) >= values.count(value), (name, value)
            asked = pl.DataFrame({name: [value]}, schema={name: frame.schema[name]})
            assert len(tables.find("t", asked)) == len(found), (name, value)
    assert len(tables.scan("t").filter(pl.col("number").is_nan()).collect()) == 1


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


@pytest.mark.parametrize("name", ["with a space", "ü", "5 % more"])
def test_a_folder_may_be_called_what_it_likes(tmp_path: Path, name: str) -> None:
    tables = DeltaTables(str(tmp_path / name))
    tables.append("t", rows(1, 2))
    tables.append("t", rows(3))
    assert numbers(tables) == [1, 2, 3]
    assert numbers(tables, 1) == [1, 2]
    assert numbers(DeltaTables(str(tmp_path / name))) == [1, 2, 3]


def test_a_folder_that_looks_encoded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be kept"):
        DeltaTables(str(tmp_path / "50%41"))
