"""The artifact store's port."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


class Artifacts(Protocol):
    """Content-addressed blobs: written once, never changed, the same content stored once."""

    def put(self, content: bytes) -> str:
        """Store `content`; returns its digest (SHA-256, hexadecimal). Atomic: all of it or nothing."""
        ...

    def take(self, path: Path) -> str:
        """Store a file's content, however large, and remove the file; returns its digest. Atomic."""
        ...

    def get(self, digest: str) -> bytes:
        """The blob of that digest, verified.

        Raises:
            NotFound: there is none.
            Invalid: what is stored does not have that digest (it was tampered with, or damaged).
        """
        ...

    def chunks(self, digest: str) -> Iterator[bytes]:
        """The blob of that digest, piece by piece; verified when the last piece is asked for.

        Raises:
            NotFound: there is none; at once.
            Invalid: what is stored does not have that digest; at the end.
        """
        ...

    def size(self, digest: str) -> int:
        """The number of its bytes.

        Raises:
            NotFound: there is none.
        """
        ...

    def __contains__(self, digest: object) -> bool:
        """Whether there is a blob of that digest."""
        ...
