"""The artifact store's port."""

from __future__ import annotations

from typing import Protocol


class Artifacts(Protocol):
    """Content-addressed blobs: written once, never changed, the same content stored once."""

    def put(self, content: bytes) -> str:
        """Store `content`; returns its digest (SHA-256, hexadecimal). Atomic: all of it or nothing."""
        ...

    def get(self, digest: str) -> bytes:
        """The blob of that digest, verified.

        Raises:
            NotFound: there is none.
            Invalid: what is stored does not have that digest (it was tampered with, or damaged).
        """
        ...

    def __contains__(self, digest: object) -> bool:
        """Whether there is a blob of that digest."""
        ...
