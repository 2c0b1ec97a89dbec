"""The spool: what was answered, appended raw and in order before the answers leave, one file a server start.

A file is a row of blocks, each ``length, crc32`` and then entries: what arrived together is one block, one
``write(2)``. A write that returned is in the operating system's hands and survives the death of the process;
a block that was cut off by it was never acknowledged to anybody, so a torn tail is dropped. Whoever wants them to
survive the death of the machine has each block flushed, one ``fdatasync(2)`` for all that arrived together.

The writer holds a lock on its file for life, so that others can tell a living file from a finished one.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from modelworks.core.clock import new_id
from modelworks.core.errors import Invalid, Unavailable

PREDICTIONS = "predictions"
OUTCOMES = "outcomes"

SCHEMA, ROWS, TENSORS, OUTCOME, MIXED, MESSAGE = range(6)
"""Kinds of entry: a schema that later entries refer to, a request of rows, one of tensors, outcomes; tensors in JSON
and raw bytes, tensors in a message of protobuf."""

_BLOCK = struct.Struct("<II")
_ENTRY = struct.Struct("<BQqII")
_TOLD = struct.Struct("<BQqIIIf")
"""An entry that also says where its request came from, and how long it took; `_MORE` in its kind tells it from those
of before, which are still read."""
_MORE = 0x40
_ROTATE = 128 * 1024 * 1024


class Entry(NamedTuple):
    """One request that was answered.

    Attributes:
        kind: What `request` is.
        schema: How to read the request; ``b""`` where nothing is needed.
        time: When it was answered, microseconds since 1970, UTC.
        request: The body as it came.
        answer: The predictions.
        origin: Where the request came from, see `serving.about`; ``b""`` for nothing that is known.
        latency: Seconds from the request read to this entry; NaN where nobody has looked.
    """

    kind: int
    schema: bytes
    time: int
    request: bytes
    answer: bytes
    origin: bytes = b""
    latency: float = nan


class Spool:
    """The writer of one stream of entries; one a process.

    Args:
        folder: Where the files are.
        stream: `PREDICTIONS` or `OUTCOMES`, the suffix of the files.
        rotate: Size in bytes at which a new file is begun, so that old ones can be drained and removed.
        sync: Whether what is written is on the disk when `append` returns.
    """

    def __init__(self, folder: Path, stream: str, rotate: int = _ROTATE, sync: bool = False) -> None:
        self.folder = folder
        self.stream = stream
        self.rotate = rotate
        self.sync = sync
        self._lock = threading.Lock()
        self._file = -1
        self._size = 0
        self._schemas: dict[bytes, int] = {}

    def append(self, entries: Sequence[Entry]) -> None:
        """Write entries as one block; when this returns they survive the death of the process, or the machine.

        Raises:
            Unavailable: they could not be written; nothing of them is in the file.
        """
        with self._lock:
            try:
                if self._file < 0 or self._size > self.rotate:
                    self._open()
                places = self._schemas
                parts: list[bytes] = []
                for kind, schema, time, request, answer, origin, latency in entries:
                    place = places.get(schema)
                    if place is None:
                        place = self._size
                        self._write([_ENTRY.pack(SCHEMA, place, time, len(schema), 0), schema])
                        places[schema] = place
                    head = _TOLD.pack(
                        kind | _MORE, place, time, len(request), len(answer), len(origin), latency
                    )
                    parts += (head, request, answer, origin)
                self._write(parts, self.sync)
            except OSError as error:
                raise Unavailable(
                    "the prediction log cannot be written",
                    str(error),
                    f"free space in {self.folder}, then try again",
                ) from error

    def _open(self) -> None:
        """Begin a file. It gets its name when it is locked, so that nobody takes it for a finished one."""
        self._close()
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{new_id()}.{self.stream}"
        fresh = self.folder / f".{name}"
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        fcntl.flock(file, fcntl.LOCK_EX)
        fresh.rename(self.folder / name)
        if self.sync:
            _flush(self.folder)
        self._file, self._size, self._schemas = file, 0, {}

    def _write(self, parts: list[bytes], sync: bool = False) -> None:
        payload = b"".join(parts)
        block = _BLOCK.pack(len(payload), crc32(payload)) + payload
        try:
            written = os.write(self._file, block)
            while written < len(block):
                written += os.write(self._file, block[written:])
            if sync:
                os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, self._size)
            # What a flush that failed has written nobody knows: the next append begins another file.
            self._close()
            raise
        self._size += len(block)

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def close(self) -> None:
        """Let go of the file; an append after this begins another."""
        with self._lock:
            self._close()


@dataclass(frozen=True)
class Block:
    """Entries that were written together.

    Attributes:
        start: Where it begins in the file.
        end: Where the next one begins.
        entries: What it holds.
    """

    start: int
    end: int
    entries: list[Entry]


class SpoolFile:
    """A reader of one file, living or finished.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY)
        self._schemas: dict[int, bytes] = {}

    def __enter__(self) -> SpoolFile:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._file)

    def size(self) -> int:
        """Its size in bytes."""
        return os.fstat(self._file).st_size

    def blocks(self, start: int = 0, needle: bytes = b"") -> Iterator[Block]:
        """The whole blocks from `start`, which must be where one begins; ends before a torn one.

        Args:
            start: Where to begin, bytes.
            needle: Give only blocks that hold these bytes.
        """
        while (payload := self._payload(start)) is not None:
            end = start + _BLOCK.size + len(payload)
            if needle in payload:
                yield Block(start, end, list(self._entries(payload)))
            start = end

    def torn(self, start: int) -> str:
        """What is at `start`: ``""`` the end, ``"tail"`` half a block, ``"damage"`` a wrong one."""
        head = os.pread(self._file, _BLOCK.size, start)
        if not head:
            return ""
        if len(head) < _BLOCK.size:
            return "tail"
        return "tail" if start + _BLOCK.size + _BLOCK.unpack(head)[0] > self.size() else "damage"

    def finished(self) -> bool:
        """Whether its writer is gone (or has begun another file)."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _payload(self, start: int) -> bytes | None:
        head = os.pread(self._file, _BLOCK.size, start)
        if len(head) < _BLOCK.size:
            return None
        length, check = _BLOCK.unpack(head)
        if start + _BLOCK.size + length > self.size():
            return None
        payload = os.pread(self._file, length, start + _BLOCK.size)
        return payload if len(payload) == length and crc32(payload) == check else None

    def _entries(self, payload: bytes) -> Iterator[Entry]:
        at = 0
        while at < len(payload):
            if payload[at] & _MORE:
                kind, place, time, request, answer, origin, latency = _TOLD.unpack_from(payload, at)
                at += _TOLD.size
            else:
                kind, place, time, request, answer = _ENTRY.unpack_from(payload, at)
                origin, latency = 0, nan
                at += _ENTRY.size
            split, told, end = at + request, at + request + answer, at + request + answer + origin
            if kind != SCHEMA:
                yield Entry(
                    kind & ~_MORE,
                    self._schema(place),
                    time,
                    payload[at:split],
                    payload[split:told],
                    payload[told:end],
                    latency,
                )
            at = end

    def _schema(self, place: int) -> bytes:
        if place not in self._schemas:
            payload = self._payload(place)
            if payload is None:
                raise Invalid(
                    f"{self.path} is damaged", f"no schema at byte {place}", "restore it from a backup"
                )
            length = _ENTRY.unpack_from(payload)[3]
            self._schemas[place] = payload[_ENTRY.size : _ENTRY.size + length]
        return self._schemas[place]


def _flush(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def files(folder: Path, stream: str) -> list[Path]:
    """The files of a stream, the oldest first."""
    return sorted(path for path in folder.glob(f"*.{stream}") if not path.name.startswith("."))
