"""A journal: what a process has to say, appended to a file before the call that says it returns.

A file is a row of blocks, ``length, crc32, payload``, each one ``write(2)``. A write that returned is in the
operating system's hands and survives the death of the process, not the loss of power. A block that was cut
off was never acknowledged to anybody, so a torn tail is dropped.

The writer holds a lock on its file for life: that is how others tell a living file from a finished one, and
know that a writer is dead. One writer is one *session*; a long one has several files, ``SESSION-N.journal``.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

from modelworks.core.clock import new_id
from modelworks.core.errors import Unavailable

SUFFIX = ".journal"
_BLOCK = struct.Struct("<II")
_ROTATE = 64 * 1024 * 1024


class Journal:
    """The writer of one session.

    Args:
        folder: Where the files are.
        session: Its id.
        rotate: Size in bytes at which a new file is begun, so that old ones can be removed.
    """

    def __init__(self, folder: Path, session: str, rotate: int = _ROTATE) -> None:
        self.folder = folder
        self.session = session
        self._rotate = rotate
        self._lock = threading.Lock()
        self._file = -1
        self._size = 0
        self._number = 0

    def append(self, payload: bytes) -> None:
        """Write a block; when this returns it survives the death of the process.

        Raises:
            Unavailable: it could not be written; nothing of it is in the file.
        """
        block = _BLOCK.pack(len(payload), crc32(payload)) + payload
        with self._lock:
            try:
                if self._file < 0 or self._size > self._rotate:
                    self._open()
                self._write(block)
            except OSError as error:
                raise Unavailable(
                    "the journal of runs cannot be written",
                    str(error),
                    f"free space in {self.folder}, then try again",
                ) from error

    def _open(self) -> None:
        """Begin a file. It gets its name when it is locked, so that nobody takes it for a finished one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{self.session}-{self._number:06}{SUFFIX}"
        fresh = self.folder / f".{name}"
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        fresh.rename(self.folder / name)
        if self._file >= 0:  # not before the next one lives, or the session would look dead for a moment
            os.close(self._file)
        self._file, self._size, self._number = file, 0, self._number + 1

    def _write(self, block: bytes) -> None:
        try:
            written = os.write(self._file, block)
            while written < len(block):
                written += os.write(self._file, block[written:])
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(block)

    def close(self) -> None:
        """Let go of the file; an append after this begins another."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def forget(self) -> None:
        """In a forked child: leave the parent's file to the parent, and be a session of one's own."""
        if self._file >= 0:
            os.close(self._file)  # the parent's lock stays: it ends with the last who has the file open
        self._file, self._number = -1, 0
        self._lock = threading.Lock()  # a thread of the parent may have held it
        self.session = new_id()


def files(folder: Path) -> list[Path]:
    """The files in a folder, the oldest first."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))


def session_of(path: Path) -> str:
    """The session that wrote a file."""
    return path.name.removesuffix(SUFFIX).rpartition("-")[0]


def alive(path: Path) -> bool:
    """Whether a file's writer may still append to it."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def blocks(path: Path, start: int = 0, most: int = 1 << 62) -> Iterator[tuple[int, bytes]]:
    """The whole blocks from `start` on, each with the position after it; ends before a torn one.

    Args:
        path: The file.
        start: Where to begin, bytes; a block must begin there.
        most: Bytes after which to stop, at the end of a block.
    """
    with path.open("rb") as file:
        file.seek(start)
        position = start
        while position - start < most:
            head = file.read(_BLOCK.size)
            if len(head) < _BLOCK.size:
                return
            length, check = _BLOCK.unpack(head)
            payload = file.read(length)
            if len(payload) < length or crc32(payload) != check:
                return
            position += _BLOCK.size + length
            yield position, payload
