"""Unmodified clients of the Open Inference Protocol, pointed at a server of ours."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

# KServe reads the command line when it is imported.
sys.argv = sys.argv[:1]


@pytest.fixture
def http() -> str:
    """Host and port of the HTTP server."""
    return os.environ["MODELWORKS_HTTP"]


@pytest.fixture
def grpc() -> str:
    """Host and port of the gRPC server."""
    return os.environ["MODELWORKS_GRPC"]


@pytest.fixture
def ten() -> np.ndarray:
    """Two rows for `score`."""
    return np.arange(20, dtype=np.float32).reshape(2, 10) / 10


@pytest.fixture
def flight() -> dict[str, np.ndarray]:
    """Two flights for `delay`, a column each; of the second, it is not known how the wind blew."""
    return {
        "carrier": np.array(["UA", "AA"], dtype=object),
        "origin": np.array(["EWR", "JFK"], dtype=object),
        "distance": np.array([700.0, 1200.0]),
        "wind": np.array([12.5, np.nan]),
        "plane": np.array(["B737", "A320"], dtype=object),
    }
