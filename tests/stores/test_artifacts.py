"""Blobs: stored once, whole or not at all, verified when read. Every implementation of the port."""

import multiprocessing
import os
import signal
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelworks.core.errors import Invalid, NotFound
from modelworks.stores.artifacts import LocalArtifacts

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["modelworks.stores"])


@pytest.fixture(params=[False, True], ids=["quick", "durable"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> LocalArtifacts:
    return LocalArtifacts(tmp_path / "artifacts", durable=request.param)


@given(st.binary(max_size=2000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
def test_a_blob_comes_back(artifacts: LocalArtifacts, content: bytes) -> None:
    digest = artifacts.put(content)
    assert digest == sha256(content).hexdigest()
    assert artifacts.get(digest) == content
    assert digest in artifacts
    assert artifacts.put(content) == digest


def test_what_was_never_stored(artifacts: LocalArtifacts) -> None:
    digest = sha256(b"never").hexdigest()
    assert digest not in artifacts
    assert 3 not in artifacts
    with pytest.raises(NotFound, match=digest):
        artifacts.get(digest)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "AB" * 32, "ab" * 31, "ab" * 32 + "\n", "/" * 64])
def test_a_digest_is_no_path(artifacts: LocalArtifacts, digest: str) -> None:
    with pytest.raises(Invalid):
        artifacts.get(digest)
    assert digest not in artifacts


@pytest.mark.parametrize("damage", [b"", b"other", b"contenT"])
def test_tampering_is_noticed_and_mended(artifacts: LocalArtifacts, damage: bytes) -> None:
    digest = artifacts.put(b"content")
    (file,) = [path for path in artifacts.root.rglob("*") if path.is_file()]
    file.write_bytes(damage)
    with pytest.raises(Invalid, match="damaged"):
        artifacts.get(digest)


def test_a_failed_write_leaves_nothing(artifacts: LocalArtifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: int, _content: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        artifacts.put(b"content")
    assert [path for path in artifacts.root.rglob("*") if path.is_file()] == []


def _write_for_ever(root: Path, started: object) -> None:
    artifacts = LocalArtifacts(root)
    number = 0
    while True:
        artifacts.put(os.urandom(1) * 3_000_000 + number.to_bytes(4))
        number += 1
        started.set()  # type: ignore[attr-defined]


@pytest.mark.fault
def test_a_writer_killed_leaves_only_whole_blobs(tmp_path: Path) -> None:
    for _ in range(3):
        started = PROCESSES.Event()
        writer = PROCESSES.Process(target=_write_for_ever, args=(tmp_path, started))
        writer.start()
        assert started.wait(30)
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    artifacts = LocalArtifacts(tmp_path)
    blobs = [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert blobs
    for path in blobs:
        artifacts.get(path.parent.name + path.name)


def _put(root: Path, gate: object) -> str:
    gate.wait()  # type: ignore[attr-defined]
    return LocalArtifacts(root).put(b"x" * 1_000_000)


def test_many_writers_of_the_same_blob(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier

    gate = Barrier(8)
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(lambda _: _put(tmp_path, gate), range(8)))
    assert len(digests) == 1
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1
