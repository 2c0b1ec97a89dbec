"""Sources: every entry of the catalog keeps the port's promises; files of every ending, whole and broken."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import orjson
import polars as pl
import pytest

from modelworks.core.errors import Invalid, Unavailable
from modelworks.data.sources import SOURCES, formats
from modelworks.data.sources.files import Files
from modelworks.data.sources.port import Incremental, Part, Source
from modelworks.data.sources.sql import Sql

ROWS = pl.DataFrame({"id": ["a", "b"], "n": [1.5, None]})


def files_world(root: Path) -> Source:
    (root / "data").mkdir()
    ROWS.write_parquet(root / "data" / "1.parquet")
    ROWS.write_csv(root / "data" / "2.csv")
    return Files("data/*")


def sql_world(root: Path) -> Incremental:
    ROWS.with_row_index("at").write_database("rows", f"sqlite:///{root / 'rows.db'}")
    return Sql("sqlite:///rows.db", table="rows", cursor="at")


WORLDS: dict[str, Callable[[Path], Source | Incremental]] = {"files": files_world, "sql": sql_world}


@pytest.fixture(params=list(SOURCES))
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source | Incremental:
    return WORLDS[request.param](tmp_path)


def test_every_source_keeps_the_ports_promises(source: Source | Incremental, tmp_path: Path) -> None:
    if isinstance(source, Incremental):
        assert not isinstance(source, Source)
        assert not source.again
        first = source.increment(tmp_path, {})
        assert first is not None
        assert (len(first.rows), first.since, first.more) == (2, {}, False)
        assert orjson.loads(orjson.dumps(first.upto)) == first.upto
        assert source.increment(tmp_path, first.upto) is None
        return
    parts = source.parts(tmp_path)
    assert parts
    assert len({part.uri for part in parts}) == len(parts)
    assert source.parts(tmp_path) == parts  # as long as nothing changes, fingerprints stay
    for part in parts:
        assert len(part.fingerprint) <= 64
        assert len(source.content(tmp_path, part)) == 64
        frames = list(source.read(tmp_path, part))
        assert all(isinstance(frame, pl.DataFrame) for frame in frames)
        assert sum(len(frame) for frame in frames) == 2
    gone = Part("data/gone.csv", "0")
    assert source.content(tmp_path, gone) == ""
    with pytest.raises(Unavailable):
        list(source.read(tmp_path, gone))


def read(root: Path, name: str) -> pl.DataFrame:
    source = Files(name)
    (part,) = source.parts(root)
    return pl.concat(source.read(root, part))


def test_every_ending(tmp_path: Path) -> None:
    ROWS.write_parquet(tmp_path / "a.parquet")
    ROWS.write_csv(tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_bytes()
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text))
    with ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.writestr("inside.csv", text)
        archive.writestr("readme.txt", "not this one")
    ROWS.write_ndjson(tmp_path / "a.jsonl")
    (tmp_path / "B.CSV").write_bytes(text)
    for name in ("a.parquet", "a.csv", "a.csv.gz", "a.csv.zip", "a.jsonl", "B.CSV"):
        assert read(tmp_path, name).cast({"n": pl.Float64}).equals(ROWS), name


def test_csv_is_read_as_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("zip,n\n00501,1\n,x\n")
    assert read(tmp_path, "a.csv").rows() == [("00501", "1"), (None, "x")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"no parquet"),
        ("a.parquet", b""),
        ("a.csv", b""),
        ("a.csv", b"a,b\n1,2,3\n4,5\n"),
        ("a.csv", b"a,b\n\xff\xfe,2\n"),
        ("a.csv.gz", b"no gzip, certainly"),
        ("a.csv.zip", b"no zip"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n'),
        ("a.txt", b"what is this"),
    ],
)
def test_a_broken_file_is_invalid_and_says_why(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Invalid, match=name) as raised:
        read(tmp_path, name)
    assert raised.value.why
    assert str(tmp_path) not in raised.value.what


def test_a_zip_of_two(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.writestr("1.csv", "a\n1\n")
        archive.writestr("2.csv", "a\n1\n")
    with pytest.raises(Invalid, match="holds 2 CSV files"):
        read(tmp_path, "a.csv.zip")


def test_which_files(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", ".hidden.csv", "_tmp.csv", "deep/c.csv", "a.parquet"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).touch()
    (tmp_path / "data" / "folder.csv").mkdir()

    def uris(pattern: str) -> list[str]:
        return [part.uri for part in Files(pattern).parts(tmp_path)]

    assert uris("data/*.csv") == ["data/a.csv", "data/b.csv"]
    assert uris("data/**/*.csv") == ["data/a.csv", "data/b.csv", "data/deep/c.csv"]
    assert uris(str(tmp_path / "data" / "a.*")) == ["data/a.csv", "data/a.parquet"]
    assert uris("nowhere/*.csv") == []
    with pytest.raises(Invalid):
        Files(" ")


def test_a_name_is_no_pattern(tmp_path: Path) -> None:
    ROWS.write_csv(tmp_path / "[ab]*.csv")
    ROWS.head(1).write_csv(tmp_path / "a.csv")
    source = Files("*.csv")
    lengths = {part.uri: len(pl.concat(source.read(tmp_path, part))) for part in source.parts(tmp_path)}
    assert lengths == {"[ab]*.csv": 2, "a.csv": 1}


@pytest.mark.parametrize("name", ["a.parquet", "a.csv"])
def test_a_large_file_comes_in_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(formats, "_CHUNK", 1000)
    rows = pl.DataFrame({"n": range(4500)})
    rows.write_parquet(tmp_path / name) if name.endswith("t") else rows.write_csv(tmp_path / name)
    source = Files(name)
    (part,) = source.parts(tmp_path)
    frames = list(source.read(tmp_path, part))
    assert len(frames) > 1
    assert max(len(frame) for frame in frames) <= 1000
    assert pl.concat(frames)["n"].cast(pl.Int64).to_list() == list(range(4500))


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    ROWS.write_csv(tmp_path / "a.csv")
    source = Files("a.csv")
    (part,) = source.parts(tmp_path)
    with (tmp_path / "a.csv").open("a") as file:
        file.write("c,3\n")
    with pytest.raises(Unavailable, match=r"a\.csv changed while it was read"):
        list(source.read(tmp_path, part))


def test_a_fingerprint_knows_a_file_put_in_anothers_place(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    (before,) = Files("a.csv").parts(tmp_path)
    moment = (tmp_path / "a.csv").stat().st_mtime_ns
    (tmp_path / "_new").write_text("a\n2\n")
    os.utime(tmp_path / "_new", ns=(moment, moment))
    (tmp_path / "_new").replace(tmp_path / "a.csv")
    assert Files("a.csv").parts(tmp_path) != [before]


def test_a_file_of_no_rows_has_its_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,n\n")
    assert read(tmp_path, "a.csv").columns == ["id", "n"]
