"""What nothing refers to goes, what anything refers to stays, and nobody who writes meanwhile loses anything."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

from modelworks.cli.template import make
from modelworks.core.errors import Conflict, Invalid, NotFound
from modelworks.core.plain import plain
from modelworks.factory import Factory
from modelworks.models import packaging
from modelworks.pipelines import campaign as campaigns
from modelworks.stores.ledger.tables import campaigns as table
from modelworks.stores.ledger.tables import model_versions
from modelworks.train import trainer
from modelworks.train.scratch import scratch


@pytest.fixture(scope="module", autouse=True)
def _workers() -> Iterator[None]:
    yield
    trainer.close()


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Factory]:
    """The project of `modelworks init` with three versions, the last of them champion."""
    monkeypatch.setattr(Factory, "close", lambda self: self.stores.ledger.close())  # the workers stay warm
    make(tmp_path)
    with Factory(tmp_path) as opened:
        opened.ingest()
        for _ in range(3):
            opened.train(force=True)
        assert [one["version"] for one in opened.deployments("diagnosis")] == [3]
        yield opened


def age(factory: Factory, digest: str | None = None) -> None:
    """Make artifacts older than any grace."""
    root = factory.stations.train.artifacts_root
    for path in root.rglob("*"):
        if path.is_file() and digest in (None, path.parent.name + path.name):
            os.utime(path, (0, 0))


def blobs(factory: Factory) -> set[str]:
    root = factory.stations.train.artifacts_root
    return {path.parent.name + path.name for path in root.rglob("*") if path.is_file()}


def model_of(factory: Factory, version: int) -> Any:
    return next(one for one in factory.stations.registry.versions("diagnosis") if one.version == version)


def only(factory: Factory, version: int) -> set[str]:
    """The blobs of a version's model."""
    package = model_of(factory, version).package
    return {digest for digest in (package.native, package.compiled) if digest}


def interrupted_campaign(factory: Factory, artifacts: list[str]) -> None:
    with factory.stores.ledger.write() as db:
        db.execute(
            insert(table).values(
                id="c", model="diagnosis", key="k", reason="", dataset="patients", dataset_version=1, segments=0,
                total=0, artifacts=artifacts, status="running", created=factory.clock(),
            )
        )  # fmt: skip


def unique(factory: Factory, version: int) -> None:
    """Give a version a model that no other has: the same data made the same three times."""
    artifacts, found = factory.stores.artifacts, model_of(factory, version).package.to_json()
    found |= {
        "native": artifacts.put(b"native %d" % version),
        "compiled": artifacts.put(b"graph %d" % version),
    }
    with factory.stores.ledger.write() as db:
        db.execute(update(model_versions).where(model_versions.c.version == version).values(package=found))


def test_only_what_nothing_refers_to_goes(factory: Factory) -> None:
    before = blobs(factory)
    orphan = factory.stores.artifacts.put(b"an orphan")
    half = factory.stations.train.artifacts_root / orphan[:2] / ".half"
    half.write_bytes(b"12345")
    told = plain(factory.gc())
    assert (told["artifacts"], told["young"]) == (0, len(before) + 2)  # all of it is too young to judge
    age(factory)
    would = plain(factory.gc(dry_run=True))
    assert (would["artifacts"], would["parts"], would["bytes"]) == (1, 1, len(b"an orphan") + 5)
    assert blobs(factory) == before | {orphan, orphan[:2] + ".half"}
    assert plain(factory.gc()) == {**would, "dry_run": False}
    assert blobs(factory) == before
    packaging.load(model_of(factory, 3).package, factory.stores.artifacts)


def test_what_is_stored_again_meanwhile_stays(factory: Factory) -> None:
    orphan = factory.stores.artifacts.put(b"an orphan")
    age(factory)
    assert factory.stores.artifacts.put(b"an orphan") == orphan  # a training makes the very same model
    assert plain(factory.gc())["artifacts"] == 0
    assert orphan in factory.stores.artifacts


def test_what_is_stored_again_in_the_middle_of_being_deleted_stays(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = factory.stores.artifacts
    orphan = artifacts.put(b"an orphan")
    age(factory)
    rename = os.rename

    def interrupted(source: Any, target: Any) -> None:
        """The writer comes between the look and the deed."""
        if os.path.basename(os.fspath(source)) == orphan[2:] and ".gone-" in os.fspath(target):
            monkeypatch.setattr(os, "rename", rename)
            artifacts.put(b"an orphan")
        rename(source, target)

    monkeypatch.setattr(os, "rename", interrupted)
    assert plain(factory.gc())["artifacts"] == 0
    assert os.rename is rename
    assert artifacts.get(orphan) == b"an orphan"
    assert not [name for name in blobs(factory) if ".gone-" in name]


def test_a_collection_that_was_killed_is_mended(factory: Factory) -> None:
    root, package = factory.stations.train.artifacts_root, model_of(factory, 3).package
    place = root / package.native[:2]
    (place / package.native[2:]).rename(place / f".gone-{package.native[2:]}")
    factory.gc()
    packaging.load(package, factory.stores.artifacts)


def test_artifacts_of_runs_and_of_campaigns_that_go_on_stay(factory: Factory) -> None:
    kept = factory.stores.artifacts.put(b"the code of a campaign that was killed")
    interrupted_campaign(factory, [])
    with factory.stores.ledger.write() as db:
        campaigns.claim(db, "c", [kept])
    age(factory)
    assert plain(factory.gc())["artifacts"] == 0
    assert kept in factory.stores.artifacts


def test_while_a_training_runs_an_hour_is_the_least(factory: Factory) -> None:
    orphan = factory.stores.artifacts.put(b"written, and not yet in the ledger")
    interrupted_campaign(factory, [])
    moment = time.time() - 60
    os.utime(factory.stations.train.artifacts_root / orphan[:2] / orphan[2:], (moment, moment))
    with factory.stores.ledger.leases.take(campaigns.lease("c")):
        assert [one["running"] for one in plain(factory.status())["training"]] == [True]
        factory.gc(grace="1s")
        assert orphan in factory.stores.artifacts
    assert [one["running"] for one in plain(factory.status())["training"]] == [False]
    factory.gc(grace="1s")
    assert orphan not in factory.stores.artifacts


def test_an_archived_version_stays_on_record_and_its_model_goes(factory: Factory) -> None:
    unique(factory, 1)
    gone = only(factory, 1)
    assert plain(factory.archive("diagnosis@1")) == {"ref": "diagnosis@1", "archived": True}
    with pytest.raises(Conflict, match="it is archived"):
        factory.deploy("diagnosis@1")
    with pytest.raises(Conflict, match="it is archived"), factory.stores.ledger.write() as db:
        factory.stations.registry.set_alias(db, "diagnosis", (), "good", 1)
    factory.restore("diagnosis@1")
    factory.archive("diagnosis@1")
    age(factory)
    assert plain(factory.gc())["artifacts"] == len(gone) == 2
    assert not gone & blobs(factory)
    version = model_of(factory, 1)
    for digest in (version.package.code, version.package.environment, version.package.reference):
        factory.stores.artifacts.get(digest)
    shown = next(one for one in plain(factory.versions("diagnosis")) if one["version"] == 1)
    assert shown["archived"]
    assert shown["metrics"]
    assert plain(factory.lineage("model:diagnosis@1"))
    with pytest.raises(Conflict, match="its model was let go"):
        factory.restore("diagnosis@1")


def test_what_another_version_shares_stays(factory: Factory) -> None:
    assert only(factory, 1) == only(factory, 3)  # the same data, the same code, the same bits
    factory.archive("diagnosis@1")
    age(factory)
    assert plain(factory.gc())["artifacts"] == 0


def test_what_is_live_or_named_cannot_be_archived(factory: Factory) -> None:
    with pytest.raises(Conflict, match="it is the champion"):
        factory.archive("diagnosis@3")
    with pytest.raises(Conflict, match="it is what a rollback goes back to"):
        factory.archive("diagnosis@2")
    with factory.stores.ledger.write() as db:
        factory.stations.registry.set_alias(db, "diagnosis", (), "audited", 1)
    with pytest.raises(Conflict, match="it is called audited"):
        factory.archive("diagnosis@1")
    with pytest.raises(Invalid, match="names no version"):
        factory.archive("diagnosis")
    with pytest.raises(NotFound):
        factory.archive("diagnosis@9")


def test_the_latest_is_one_that_is_not_archived(factory: Factory) -> None:
    factory.deploy("diagnosis@1")
    factory.deploy("diagnosis@2")
    factory.archive("diagnosis@3")
    latest = plain(factory.model("diagnosis@latest"))["version"]
    assert latest["version"] == 2
    (report,) = factory.train(force=True)
    assert report.trained == 1
    assert plain(factory.model("diagnosis@latest"))["version"]["version"] == 4


def test_a_folder_of_a_killed_training_goes_and_that_of_a_living_one_stays(factory: Factory) -> None:
    root = factory.stations.train.scratch
    child = os.fork()
    if child == 0:
        with scratch(root) as folder:
            (folder / "rows.arrow").write_bytes(b"12345678")
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    with scratch(root.with_name("elsewhere")):
        assert plain(factory.gc(dry_run=True))["folders"] == 1
        told = plain(factory.gc())
    assert (told["folders"], told["bytes"]) == (1, 8)
    assert not list(root.iterdir())
    with scratch(root) as folder:
        (folder / "rows.arrow").write_bytes(b"12345678")
        assert plain(factory.gc())["folders"] == 0
        assert (folder / "rows.arrow").exists()
    assert not list(root.iterdir())


def test_digests_are_told_from_other_texts(factory: Factory) -> None:
    orphan = factory.stores.artifacts.put(b"an orphan")
    near = [
        orphan[:-1],
        orphan + "0",
        orphan.upper() if orphan.upper() != orphan else "",
        sha256(b"").hexdigest(),
    ]
    interrupted_campaign(factory, near)
    age(factory)
    assert plain(factory.gc())["artifacts"] == 1
