"""Limits of a server: how patient it is with its clients, and how much it does at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a client may take its time for, and what it may be made to wait for.

    Attributes:
        request: Seconds for a request to arrive whole.
        idle: Seconds that a connection may be silent between requests.
        file: Bytes of a file, the body of a PUT; it may take its time as long as it comes.
        wait: Seconds that a request may wait, once the server has been behind for that long.
        connections: How many there may be at once.
        drain: Seconds for which a server that ends goes on answering, until nobody is connected.
        latency: Seconds that a batch of requests may take whose models are not compiled.
        streams: Answers that may be given piece by piece at once.
        quiet: Seconds after which a stream of which nothing comes says that it is still there.
    """

    request: float = 30.0
    idle: float = 75.0
    file: int = 0
    wait: float = 0.5
    connections: int = 10_000
    drain: float = 1.0
    latency: float = 0.05
    streams: int = 64
    quiet: float = 15.0


PATIENT = Limits()
"""What is usual."""
