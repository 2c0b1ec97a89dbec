"""What a version rests on: trained again bit for bit in an environment of its own; what was tampered with is seen."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import shop_world as world
from sqlalchemy import update

from modelworks.core.errors import NotFound, NotReady
from modelworks.core.plain import plain
from modelworks.core.ref import Ref
from modelworks.factory import Factory
from modelworks.stores.ledger.tables import dataset_versions

LOCAL = """
STRENGTH = 0.5


def strength(params):
    return params.get("C", STRENGTH)
"""


def made(folder: Path) -> Path:
    """A project whose fit uses a neighbour of factory.py, with three ingests, trained."""
    root = world.make_project(folder, days=10)
    text = (
        (root / "factory.py")
        .read_text()
        .replace("LogisticRegression(C=1.0)", "LogisticRegression(C=strength(params))")
    )
    (root / "factory.py").write_text(
        text.replace("import modelworks as mw", "import modelworks as mw\nfrom local import strength")
    )
    (root / "local.py").write_text(LOCAL)
    with Factory(root) as factory:
        factory.ingest()
        for day in (10, 11):
            # A number that is missing in one segment alone, and rows of the same moment.
            rows = world.orders(day).with_columns(ordered=pl.col("ordered").dt.truncate("6h"))
            world.write_day(root, day, rows)
            factory.ingest()
        (report,) = factory.train()
        assert report.trained >= 4
    return root


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("proof") / "shop")


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Path:
    """One to break."""
    return Path(shutil.copytree(project, tmp_path / "shop", ignore=shutil.ignore_patterns("environments")))


@pytest.fixture
def factory(copy: Path) -> Iterator[Factory]:
    with Factory(copy) as opened:
        yield opened


def data_files(root: Path) -> list[Path]:
    return sorted((root / ".modelworks/tables/datasets/orders").glob("*.parquet"))


def told(factory: Factory, ref: str, **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = plain(factory.reproduce(ref, **more))
    return answer


@pytest.mark.parametrize("ref", ["returns@1", "returns[north]@1", "returns[north,a]@1"])
def test_every_level_is_the_same_bit_for_bit(factory: Factory, ref: str) -> None:
    again = told(factory, ref, here=True)
    assert (again["verdict"], again["rows"], again["code"]) == ("equal", True, True), again
    assert again["largest_difference"] == 0.0
    assert again["held_out"] > 0
    assert all(then == now for then, now in again["metrics"].values())
    assert again["environment"]["differences"] == []


def test_in_an_environment_made_from_the_lock(project: Path) -> None:
    """A real one, by uv; the second time it is there."""
    command = [sys.executable, "-m", "modelworks.cli", "--project", str(project), "--json", "reproduce"]
    for _ in range(2):
        done = subprocess.run([*command, "returns[south]@1"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        again = json.loads(done.stdout)
        assert again["verdict"] == "equal"
        assert again["environment"]["differences"] == []
    where = Path(again["environment"]["where"])
    assert where.parent == project / ".modelworks/environments"
    assert not list(where.glob("lib/python*/site-packages/pytest"))  # nothing that the model does not need
    assert again["seconds"]["environment"] < 5


def test_the_code_as_it_was_then_is_run(copy: Path) -> None:
    (copy / "local.py").write_text(LOCAL.replace("0.5", "0.0001"))
    (copy / "factory.py").write_text(
        (copy / "factory.py").read_text().replace("StandardScaler()", "'passthrough'")
    )
    with Factory(copy) as factory:
        assert told(factory, "returns@1", here=True)["verdict"] == "equal"


def test_more_data_packing_and_correction_do_not_matter(factory: Factory, copy: Path) -> None:
    before = factory.stations.data.version_of(Ref("orders", at=3))
    world.write_day(copy, 12, world.orders(12))
    factory.ingest()
    assert factory.compact("orders")["files"] > 1
    looked = plain(factory.verify("orders@3"))
    assert looked["intact"]
    assert looked["packed"]
    assert looked["digest"] == before.digest
    # A correction of a row that the model has learned from begins another epoch; the old version keeps the old row.
    world.write_day(copy, 13, world.orders(11).with_columns(price=pl.lit(1.0)))
    factory.ingest()
    again = told(factory, "returns[north,a]@1", here=True)
    assert (again["verdict"], again["rows"]) == ("equal", True)


def test_a_tampered_data_version_is_detected(factory: Factory, copy: Path) -> None:
    path = data_files(copy)[0]
    rows = pl.read_parquet(path)
    version = rows["_version"].max()
    rows.with_columns(price=pl.col("price") + 1000).write_parquet(path)
    again = told(factory, "returns@1", here=True)
    assert again["verdict"] == "tampered"
    assert again["held_out"] == 0  # nothing is trained on it
    (damage,) = again["data"][0]["damage"]
    assert damage["file"] == path.name
    assert damage["rows"] == len(rows)
    assert damage["first"] <= version <= damage["last"]
    assert damage["columns"] == ["price"]
    done = subprocess.run(
        [sys.executable, "-m", "modelworks.cli", "--project", str(copy), "data", "verify", "orders@3"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert path.name in done.stdout.replace("\n", "")
    # What is packed from it would be another dataset: it is refused.
    with pytest.raises(Exception, match="has another content"):
        factory.compact("orders")


def test_only_the_versions_that_see_it_are_touched(factory: Factory, copy: Path) -> None:
    newest = next(path for path in data_files(copy) if pl.read_parquet(path)["_version"].min() == 3)
    newest.write_bytes(newest.read_bytes()[:-10] + b"0123456789")
    assert plain(factory.verify("orders@2"))["intact"]
    (damage,) = plain(factory.verify("orders@3"))["damage"]
    assert "cannot be read" in damage["why"]
    newest.unlink()
    (damage,) = plain(factory.verify("orders@3"))["damage"]
    assert damage["why"] == "is gone"


def test_rows_that_somebody_else_added_are_detected(factory: Factory, copy: Path) -> None:
    table = factory.stores.tables
    strange = table.scan("datasets/orders").collect().head(1).with_columns(order_id=pl.lit("forged"))
    table.append("datasets/orders", strange)
    assert plain(factory.verify("orders@3"))["intact"]  # it is read from the table as it was
    world.write_day(copy, 12, world.orders(12))
    (report,) = factory.ingest()
    assert any("something else than Modelworks" in note for note in report.notes)
    looked = plain(factory.verify(f"orders@{report.version}"))
    assert not looked["intact"]
    assert "after orders@3" in looked["findings"][0]


def test_a_ledger_that_names_other_files_is_detected(factory: Factory) -> None:
    with factory.stores.ledger.write() as db:
        db.execute(update(dataset_versions).where(dataset_versions.c.version == 3).values(digest="0" * 64))
    again = told(factory, "returns@1", here=True)
    assert again["verdict"] == "tampered"
    assert "orders@3" in again["reason"]


def test_a_swapped_model_is_detected(factory: Factory, copy: Path) -> None:
    one, other = (
        factory.stations.registry.get(Ref.parse(ref)).package for ref in ("returns@1", "returns[north]@1")
    )
    store = copy / ".modelworks/artifacts"
    shutil.copy(store / other.native[:2] / other.native[2:], store / one.native[:2] / one.native[2:])
    again = told(factory, "returns@1", here=True)
    assert again["verdict"] == "tampered"
    assert again["artifacts"][0].startswith("the model: ")
    (store / one.native[:2] / one.native[2:]).unlink()
    assert told(factory, "returns@1", here=True)["verdict"] == "tampered"


def test_a_forgotten_subject_is_no_tampering(factory: Factory) -> None:
    factory.forget("orders", "003-north-a-4")
    looked = plain(factory.verify("orders@3"))
    assert (looked["intact"], looked["erased"]) == (True, 1)
    again = told(factory, "returns[north,a]@1", here=True)
    assert (again["verdict"], again["rows"]) == ("differs", False)
    assert "forgotten" in again["notes"][0]
    other = told(factory, "returns[south,c]@1", here=True)
    assert (other["verdict"], other["rows"]) == ("equal", True)


def test_rows_that_are_not_kept_are_said_to_be_gone(factory: Factory) -> None:
    with factory.stores.ledger.write() as db:
        now = factory.clock()
        db.execute(update(dataset_versions).where(dataset_versions.c.version == 3).values(dropped=now))
    with pytest.raises(NotFound, match="not kept any more"):
        factory.reproduce("returns@1", here=True)


def test_what_was_logged_by_hand_cannot_be_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    import modelworks as mw

    monkeypatch.chdir(tmp_path)
    x = pd.DataFrame({"a": [1.0, 2.0, 3.0]})
    with mw.run("by-hand") as run:
        run.log_model(LinearRegression().fit(x, [1.0, 2.0, 3.5]), name="risk", example=x)
    with Factory(tmp_path) as factory, pytest.raises(NotReady, match="logged it by itself"):
        factory.reproduce("risk@1")


def test_one_document_of_the_environment_for_all_segments(factory: Factory) -> None:
    versions = factory.stations.registry.versions("returns")
    assert len({one.package.environment for one in versions}) == 1
    document = json.loads(factory.stores.artifacts.get(versions[0].package.environment))
    assert document["packages"]["scikit-learn"]["files"]
    assert document["threads"]["OMP_NUM_THREADS"] == "1"
    assert "pytest" not in document["packages"]
    assert len({one.package.rows for one in versions}) == len(versions)
