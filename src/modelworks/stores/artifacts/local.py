"""Artifacts in a local folder."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import file_digest, sha256
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from modelworks.core.errors import Invalid, NotFound
from modelworks.stores.artifacts.sweep import Swept, sweep

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PIECE = 1024 * 1024


class LocalArtifacts:
    """Blobs as files, ``ab/cdef...``, written beside their place and renamed into it.

    A file is flushed to the operating system, which survives the death of any process; `durable` waits
    for the disk as well, which survives the loss of power.
    """

    def __init__(self, root: Path, durable: bool = False) -> None:
        self.root = root
        self.durable = durable

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise Invalid(f"{digest[:80]!r} is not a digest", "", "give 64 hexadecimal digits")
        return self.root / digest[:2] / digest[2:]

    def put(self, content: bytes) -> str:
        """See `Artifacts.put`."""
        digest = sha256(content).hexdigest()
        path = self._path(digest)
        try:
            os.utime(path)  # as good as new: see `sweep`
        except FileNotFoundError:
            pass
        else:
            return digest
        # Files of a training are many and small: system calls alone cost a third of `tempfile` and `pathlib`.
        part = f"{path.parent}/.{uuid4().hex}"
        try:
            try:
                file = os.open(part, _NEW, 0o600)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                file = os.open(part, _NEW, 0o600)
            try:
                _write(file, content)
                if self.durable:
                    os.fsync(file)
            finally:
                os.close(file)
            os.rename(part, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(part)
            raise
        return digest

    def get(self, digest: str) -> bytes:
        """See `Artifacts.get`."""
        try:
            content = self._path(digest).read_bytes()
        except FileNotFoundError:
            raise self._missing(digest) from None
        if sha256(content).hexdigest() != digest:
            raise _damaged(digest)
        return content

    def sweep(self, kept: Callable[[str], bool], before: float, dry_run: bool = False) -> Swept:
        """See `Artifacts.sweep`."""
        return sweep(self.root, kept, before, dry_run)

    def take(self, path: Path) -> str:
        """See `Artifacts.take`."""
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
            if self.durable:
                os.fsync(file.fileno())
        to = self._path(digest)
        to.parent.mkdir(parents=True, exist_ok=True)
        part = to.with_name(f".{uuid4().hex}")
        try:
            shutil.move(path, part)
            os.utime(part)  # new, however old the file: see `sweep`
            part.rename(to)
        finally:
            part.unlink(missing_ok=True)
        return digest

    def chunks(self, digest: str) -> Iterator[bytes]:
        """See `Artifacts.chunks`."""
        try:
            file = self._path(digest).open("rb")
        except FileNotFoundError:
            raise self._missing(digest) from None
        return _chunks(file, digest)

    def size(self, digest: str) -> int:
        """See `Artifacts.size`."""
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            raise self._missing(digest) from None

    def _missing(self, digest: str) -> NotFound:
        return NotFound(
            f"artifact {digest} is not in {self.root}",
            "it was never stored here, or was removed",
            "check the setting artifacts.url, or restore it from a backup",
        )

    def __contains__(self, digest: object) -> bool:
        return isinstance(digest, str) and bool(_DIGEST.fullmatch(digest)) and self._path(digest).exists()


def _chunks(file: BinaryIO, digest: str) -> Iterator[bytes]:
    seen = sha256()
    with file:
        while part := file.read(_PIECE):
            seen.update(part)
            yield part
    if seen.hexdigest() != digest:
        raise _damaged(digest)


def _damaged(digest: str) -> Invalid:
    return Invalid(
        f"artifact {digest} is damaged", "its content does not match its digest", "restore it from a backup"
    )


def _write(file: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]
