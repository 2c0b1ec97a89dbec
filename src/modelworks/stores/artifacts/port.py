"""The artifact store's port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from modelworks.stores.artifacts.sweep import Swept


class Artifacts(Protocol):
    """Content-addressed blobs: written once, never changed, the same content stored once."""

    def put(self, content: bytes) -> str:
        """Store `content`; returns its digest (SHA-256, hexadecimal). Atomic: all of it or nothing.

        What is there already counts as stored now.
        """
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

    def sweep(self, kept: Callable[[str], bool], before: float, dry_run: bool = False) -> Swept:
        """Delete blobs that nobody needs; others may store and read at the same time.

        Args:
            kept: Whether something refers to the blob of a digest.
            before: Seconds since 1970: blobs that were stored from then on stay.
            dry_run: Only count.
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
