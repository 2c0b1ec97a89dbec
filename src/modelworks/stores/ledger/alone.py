"""Being alone with a piece of work: a lock that the death of its holder sets free."""

from __future__ import annotations

import fcntl
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Lock

from sqlalchemy import Engine, func, select

# Locks of the operating system are between processes; threads of one process need their own.
_threads: defaultdict[str, Lock] = defaultdict(Lock)
os.register_at_fork(after_in_child=_threads.clear)


@contextmanager
def among_files(folder: Path, what: str, once: bool = False) -> Iterator[None]:
    """Alone among the processes and threads of this machine.

    A record lock (``fcntl``) belongs to the process: forked children do not keep it, SIGKILL frees it. What nobody
    else will ever be alone with leaves no file behind: `once`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / sha256(what.encode()).hexdigest()[:32]
    with _threads[str(path)], path.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        try:
            yield  # closing the file frees it
        finally:
            if once:
                path.unlink(missing_ok=True)


def held_among_files(folder: Path, what: str) -> bool:
    """Whether somebody is inside `among_files` of the same."""
    path = folder / sha256(what.encode()).hexdigest()[:32]
    thread = _threads[str(path)]
    if not path.exists():
        return False
    if not thread.acquire(blocking=False):
        return True
    try:
        with path.open(
            "r+"
        ) as file:  # whoever closes a file frees all locks of this process on it: of which there is none
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except FileNotFoundError:  # it was there `once`
        return False
    finally:
        thread.release()


@contextmanager
def among_sessions(engine: Engine, what: str) -> Iterator[None]:
    """Alone among all who use one PostgreSQL: an advisory lock, which ends with the connection."""
    key = func.hashtextextended(f"modelworks.alone.{what}", 0)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
        db.execute(select(func.pg_advisory_lock(key)))
        try:
            yield
        finally:
            db.execute(select(func.pg_advisory_unlock(key)))


def held_among_sessions(engine: Engine, what: str) -> bool:
    """Whether somebody is inside `among_sessions` of the same."""
    key = func.hashtextextended(f"modelworks.alone.{what}", 0)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
        if not db.scalar(select(func.pg_try_advisory_lock(key))):
            return True
        db.execute(select(func.pg_advisory_unlock(key)))
        return False
