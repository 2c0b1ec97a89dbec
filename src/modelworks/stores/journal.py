"""A journal: what a process has to say, kept in a file before the call that says it returns.

A file is a row of blocks, ``length, crc32, payload``; a length of 0 is the end. It is written through memory that
is the file itself: what is there belongs to the operating system, survives the death of the process (not the loss
of power), and costs no system call. A ``write(2)`` costs two microseconds more where nothing else goes on, and
milliseconds where another thread computes: it gives the interpreter away and has to wait to get it back. The
length is written last, so a block that the death of its writer cut off is not there.

The writer holds a lock on its file for life: that is how others tell a living file from a finished one, and know
that a writer is dead. One writer is one *session*; a long one has several files, ``SESSION-N.journal``.
"""

from __future__ import annotations

import fcntl
import mmap
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
_FIRST, _ROTATE = 128 * 1024, 64 * 1024 * 1024


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
        self._memory: mmap.mmap | None = None
        self._size = 0
        self._number = 0

    def append(self, payload: bytes) -> None:
        """Keep a block; when this returns it survives the death of the process.

        Raises:
            Unavailable: it could not be kept; nothing of it is in the file.
        """
        head = _BLOCK.pack(len(payload), crc32(payload))
        with self._lock:
            begin, end = self._size + _BLOCK.size, self._size + _BLOCK.size + len(payload)
            memory = self._memory
            if memory is None or end + _BLOCK.size > len(memory):
                memory = self._room(len(payload))
                begin, end = self._size + _BLOCK.size, self._size + _BLOCK.size + len(payload)
            memory[begin:end] = payload
            memory[self._size : begin] = head
            self._size = end

    def _room(self, length: int) -> mmap.mmap:
        """Memory with room for a block of `length` after `_size`: of this file made larger, or of the next one."""
        try:
            if self._file < 0 or self._size > self._rotate:
                self._open()
            needed = self._size + 2 * _BLOCK.size + length
            size = max(_FIRST, 2 * len(self._memory) if self._memory is not None else 0, needed)
            # Reserved, not only promised: memory of a file that has no place on a full disk kills who writes it.
            os.posix_fallocate(self._file, 0, size)
            if self._memory is not None:
                self._memory.close()
                self._memory = None
            self._memory = mmap.mmap(self._file, size)
        except OSError as error:
            raise Unavailable(
                "the journal of runs cannot be written",
                str(error),
                f"free space in {self.folder}, then try again",
            ) from error
        return self._memory

    def _open(self) -> None:
        """Begin a file. It gets its name when it is locked, so that nobody takes it for a finished one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{self.session}-{self._number:06}{SUFFIX}"
        fresh = self.folder / f".{name}"
        file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        fresh.rename(self.folder / name)
        self._leave()  # not before the next one lives, or the session would look dead for a moment
        self._file, self._size, self._number = file, 0, self._number + 1

    def _leave(self) -> None:
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def close(self) -> None:
        """Let go of the file; an append after this begins another."""
        with self._lock:
            self._leave()

    def forget(self) -> None:
        """In a forked child: leave the parent's file to the parent, and be a session of one's own."""
        self._leave()  # the parent's lock stays: it ends with the last who has the file open
        self._number = 0
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
    """The whole blocks from `start` on, each with the position after it; ends before a damaged one.

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
            if not length or len(payload) < length or crc32(payload) != check:
                return
            position += _BLOCK.size + length
            yield position, payload


def more(path: Path, position: int) -> bool:
    """Whether a file has a block at `position`, whole or damaged."""
    try:
        with path.open("rb") as file:
            file.seek(position)
            return any(file.read(_BLOCK.size))
    except FileNotFoundError:  # somebody else has read it to its end
        return False
