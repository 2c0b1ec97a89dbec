"""The journal: blocks as they were written, whoever reads and whenever; a full disk, a fork, a lock."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from modelworks.core.errors import Unavailable
from modelworks.stores import journal
from modelworks.stores.journal import Journal


def payloads(folder: Path) -> list[bytes]:
    return [payload for path in journal.files(folder) for _, payload in journal.blocks(path)]


def test_blocks_come_back_in_order_also_large_ones(tmp_path: Path) -> None:
    written = [os.urandom(size) for size in (1, 100, 200_000, 3, 1_000_000, 7)]
    made = Journal(tmp_path, "a" * 26)
    for number, payload in enumerate(written):
        made.append(payload)
        assert payloads(tmp_path) == written[: number + 1]
    (path,) = journal.files(tmp_path)
    assert journal.session_of(path) == "a" * 26
    assert journal.alive(path)
    made.close()
    assert not journal.alive(path)
    assert payloads(tmp_path) == written


def test_reading_goes_on_where_it_was(tmp_path: Path) -> None:
    made = Journal(tmp_path, "b" * 26)
    made.append(b"one")
    (path,) = journal.files(tmp_path)
    ((position, _),) = journal.blocks(path)
    assert not journal.more(path, position)
    made.append(b"two")
    made.append(b"three")
    assert journal.more(path, position)
    assert [payload for _, payload in journal.blocks(path, position)] == [b"two", b"three"]
    assert [payload for _, payload in journal.blocks(path, position, most=1)] == [b"two"]
    made.close()


def test_a_full_disk_is_said_and_nothing_is_half_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Journal(tmp_path, "c" * 26)
    made.append(b"before")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        with pytest.raises(Unavailable, match="No space left"):
            made.append(b"x" * 1_000_000)
    made.append(b"after")
    assert payloads(tmp_path) == [b"before", b"after"]
    made.close()


def test_a_forked_child_has_a_session_of_its_own(tmp_path: Path) -> None:
    made = Journal(tmp_path, "d" * 26)
    made.append(b"parent")
    child = os.fork()
    if not child:
        made.forget()
        made.append(b"child")
        os._exit(0)
    os.waitpid(child, 0)
    made.append(b"parent again")
    by_session = {journal.session_of(path): path for path in journal.files(tmp_path)}
    parent = by_session.pop("d" * 26)
    (of_child,) = by_session.values()
    assert [payload for _, payload in journal.blocks(parent)] == [b"parent", b"parent again"]
    assert [payload for _, payload in journal.blocks(of_child)] == [b"child"]
    assert (journal.alive(parent), journal.alive(of_child)) == (True, False)
    made.close()
