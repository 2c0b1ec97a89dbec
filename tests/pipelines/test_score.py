"""Batch scoring end to end: every kind of file, killed and gone on with, what is wrong said before the work."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from modelworks.core.errors import Conflict, Invalid, NotFound
from modelworks.factory import Factory
from modelworks.pipelines import score as scoring
from modelworks.sdk.client import connect


def tumours(project: Path) -> pl.DataFrame:
    return pl.read_csv(project / "data/tumours.csv")


def many(project: Path, path: Path, rows: int) -> Path:
    """The samples over and over, in row groups of another size than the parts."""
    some = tumours(project)
    picked = np.random.default_rng(5).integers(0, len(some), rows)
    some[picked].with_columns(radius=pl.col("radius") + pl.Series(np.linspace(0, 1, rows))).write_parquet(
        path, row_group_size=70_001
    )
    return path


def command(project: Path, *arguments: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "modelworks.cli",
        "--project",
        str(project),
        "--json",
        "predict",
        "diagnosis",
        *arguments,
    ]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".json", ".parquet"])
def test_every_kind_of_file_is_answered_as_over_http(
    trained: Path, server: str, tmp_path: Path, ending: str
) -> None:
    rows = tumours(trained)
    file, out = tmp_path / f"rows{ending}", tmp_path / "out.parquet"
    {
        ".csv": rows.write_csv,
        ".jsonl": rows.write_ndjson,
        ".json": rows.write_json,
        ".parquet": rows.write_parquet,
    }[ending](file)
    with Factory(trained) as factory:
        told = factory.score("diagnosis", out, file=file)
    made = pl.read_parquet(out)
    assert (told.rows, told.answered, told.refused, told.parts) == (569, 569, 0, 1)
    assert made["row"].to_list() == list(range(569))
    assert made["sample"].to_list() == rows["sample"].to_list()
    with connect(server) as client:
        online = client.predict("diagnosis", rows)["predictions"]
    assert made["output"].to_list() == pytest.approx([one["output"] for one in online], abs=1e-6)
    assert made["version"].to_list() == [one["version"] for one in online]
    assert set(tmp_path.iterdir()) == {file, out}


def test_a_dataset_at_a_version_and_a_version_of_the_model(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    done = subprocess.run(
        command(trained, "--dataset", "tumours@1", "--out", str(out), "--keep", "radius"),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["answered"] == 569
    made = pl.read_parquet(out)
    assert made.columns == [
        "row",
        "sample",
        "taken",
        "radius",
        "segment",
        "version",
        "output",
        "error",
        "flags",
    ]
    with Factory(trained) as factory:
        told = factory.score("diagnosis@1", tmp_path / "one.parquet", dataset="tumours", keep=["*"])
    assert told.versions == 1
    assert "malignant" in pl.read_parquet(tmp_path / "one.parquet").columns


def test_bad_rows_are_kept_with_their_reason(trained: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "rows.csv", tmp_path / "out.parquet"
    lines = (trained / "data/tumours.csv").read_text().splitlines()[:6]
    broken = lines[2].split(",")
    broken[2] = "large"
    empty = lines[4].split(",")
    empty[3] = ""
    file.write_text("\n".join([*lines[:2], ",".join(broken), lines[3], ",".join(empty), lines[5], ""]))
    done = subprocess.run(
        command(trained, "--file", str(file), "--out", str(out)), capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert (told["rows"], told["answered"], told["refused"]) == (5, 3, 2)
    kept = pl.read_parquet(told["quarantine"])
    wrong = pl.read_parquet(out).filter(pl.col("error").is_not_null())
    assert kept.select("row", "error").rows() == wrong.select("row", "error").rows()
    given = pl.read_csv(file, infer_schema=False)
    assert kept.drop("row", "error").rows() == given[wrong["row"].to_list()].rows()
    made = pl.read_parquet(out)
    assert made["error"].to_list() == [
        None,
        "column 'radius' cannot be accepted: expected numbers",
        None,
        "column 'texture' has no value, and may not be missing",
        None,
    ]
    assert made["output"].is_null().to_list() == [False, True, False, True, False]
    assert set(told["reasons"]) == set(made["error"].drop_nulls())


@pytest.mark.fault
def test_killed_it_goes_on_and_repeats_nothing(trained: Path, tmp_path: Path) -> None:
    file = many(trained, tmp_path / "rows.parquet", 450_000)
    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    with Factory(trained) as factory:
        assert factory.score("diagnosis", whole, file=file, workers=1).parts == 5
    going = subprocess.Popen(command(trained, "--file", str(file), "--out", str(out), "--workers", "1"))
    until = time.monotonic() + 60
    while len(done := list(tmp_path.glob("out.parquet.parts/*/0*.parquet"))) < 2 and time.monotonic() < until:
        assert going.poll() is None, "it ended before it was killed"
    going.kill()
    going.wait()
    assert not out.exists()
    before = {path.name: path.stat().st_mtime_ns for path in done}
    seen: dict[str, int] = {}

    def progress(_what: str, done: int, total: int, _left: float | None = None, /) -> None:
        seen.update(
            {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("out.parquet.parts/*/0*.parquet")}
        )
        assert total == 5
        assert done >= len(before)

    with Factory(trained) as factory:
        told = factory.score("diagnosis", out, file=file, progress=progress)
    assert told.kept >= 2
    assert {name: seen[name] for name in before} == before
    assert pl.read_parquet(out).equals(pl.read_parquet(whole))
    assert {path.name for path in tmp_path.iterdir()} == {"rows.parquet", "whole.parquet", "out.parquet"}


def test_another_file_is_another_job(trained: Path, tmp_path: Path) -> None:
    """What was left of one input is never mixed with another, and goes."""
    out = tmp_path / "out.parquet"
    left = tmp_path / "out.parquet.parts" / "0123456789abcdef"
    left.mkdir(parents=True)
    (left / "000000000000.parquet").write_bytes(b"of other rows")
    with Factory(trained) as factory:
        told = factory.score("diagnosis", out, file=trained / "data/tumours.csv")
    assert told.kept == 0
    assert not left.exists()


def test_the_versions_that_began_it_end_it(trained: Path, tmp_path: Path) -> None:
    """A champion that comes between a kill and the next call answers no row of this file."""
    folder = tmp_path / "parts"
    folder.mkdir()
    with Factory(trained) as factory:
        from modelworks.core.ref import Ref

        first = scoring._chosen(factory.stations, Ref("diagnosis"), folder)
        noted = json.loads((folder / "versions.json").read_text())
        noted["versions"][""]["version"] = 77
        (folder / "versions.json").write_text(json.dumps(noted))
        again = scoring._chosen(factory.stations, Ref("diagnosis"), folder)
    assert (first.versions[()].version, again.versions[()].version) == (1, 77)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"file": "rows.csv", "model": "nothing"}, Exception, "not live"),
        ({"file": "rows.csv", "model": "diagnosis@99"}, NotFound, "diagnosis"),
        ({"file": "gone.csv"}, NotFound, "no file"),
        ({"file": "rows.txt"}, Invalid, "no known format"),
        ({"file": "narrow.csv"}, Invalid, "no column 'concavity'"),
        ({"file": "rows.csv", "keep": ["price"]}, Invalid, "no column 'price'"),
        ({"file": "torn.parquet"}, Invalid, "cannot be read"),
        ({}, Invalid, "which rows"),
    ],
)
def test_what_is_wrong_is_said_before_the_work(
    trained: Path, tmp_path: Path, arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    rows = tumours(trained)
    rows.write_csv(tmp_path / "rows.csv")
    (tmp_path / "rows.txt").write_text("?")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    rows.drop("concavity").write_csv(tmp_path / "narrow.csv")
    out = tmp_path / "out.parquet"
    out.write_bytes(b"of yesterday")
    given = {"model": "diagnosis", **arguments}
    file = given.pop("file", None)
    with Factory(trained) as factory, pytest.raises(error, match=says):
        factory.score(given.pop("model"), out, file=tmp_path / file if file else None, **given)
    assert out.read_bytes() == b"of yesterday"


def test_two_at_one_file_do_not_mix(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    beside = tmp_path / "out.parquet.parts"
    beside.mkdir()
    with (
        scoring._alone(beside, out),
        Factory(trained) as factory,
        pytest.raises(Conflict, match="another process"),
    ):
        factory.score("diagnosis", out, file=trained / "data/tumours.csv")
