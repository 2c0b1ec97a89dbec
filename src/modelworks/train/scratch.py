"""Folders that live as long as a training: what a killed one has left is found by the next and removed.

A folder belongs to who holds the lock of the file beside it; the death of its holder frees that.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelworks.core.clock import new_id

_LOCK = ".lock"
_BIRTH = 60.0
"""Seconds in which a lock surely got its name."""


@contextmanager
def scratch(root: Path) -> Iterator[Path]:
    """A new folder in `root`, removed in the end."""
    clear(root)
    root.mkdir(parents=True, exist_ok=True)
    name = new_id()
    fresh, lock, folder = root / f".{name}", root / f"{name}{_LOCK}", root / name
    file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        # It gets its name when it is locked, so that nobody takes its holder for dead.
        fcntl.flock(file, fcntl.LOCK_EX)
        fresh.rename(lock)
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(file)


def left(root: Path) -> list[Path]:
    """The folders whose training was killed."""
    return [
        lock.with_suffix("")
        for lock in root.glob(f"*{_LOCK}")
        if not lock.name.startswith(".") and _free(lock)
    ]


def clear(root: Path) -> int:
    """Remove what killed trainings have left in `root`; the number of bytes."""
    size = 0
    for folder in left(root):
        size += size_of(folder)
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_name(folder.name + _LOCK).unlink(missing_ok=True)
    for fresh in root.glob(".*"):  # killed before its lock had a name
        with suppress(FileNotFoundError):
            if time.time() - fresh.stat().st_mtime > _BIRTH:
                fresh.unlink()
    return size


def size_of(folder: Path) -> int:
    """Bytes in a folder."""
    size = 0
    with suppress(FileNotFoundError):
        for path in folder.rglob("*"):
            size += path.stat().st_size
    return size


def _free(lock: Path) -> bool:
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
    except FileNotFoundError:  # its holder has just ended
        return False
    except BlockingIOError:
        return False
