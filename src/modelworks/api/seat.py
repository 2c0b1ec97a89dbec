"""What a server process is told that shares a port with others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Seat:
    """Where a server process sits among those that share a port.

    Attributes:
        listener: Descriptor of the socket that all of them accept from.
        ready: Descriptor of a pipe; a byte is written into it when connections are accepted.
        of: How many they are.
        group: Name that they have in common.
        host: The address listened on.
        only_predict: See `api.up`.
        open: See `api.up`.
    """

    listener: int
    ready: int
    of: int
    group: str
    host: str
    only_predict: bool
    open: bool
