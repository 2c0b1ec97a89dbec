"""Ray Serve on this machine alone, one replica each, with and without batching.

Run in Ray's environment: ``python ray_server.py MODEL PORT FOLDER``.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

# What its guide to performance says, where throughput is wanted: it must be set before Ray is imported.
os.environ |= {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_USAGE_STATS_ENABLED": "0"}

import joblib
import numpy as np
import ray
from ray import serve
from starlette.requests import Request

MODEL, PORT = sys.argv[1], int(sys.argv[2])
ONE = {"num_replicas": 1, "max_ongoing_requests": 128, "ray_actor_options": {"num_cpus": 1}}
QUIET = {"enable_access_log": False, "log_level": "WARNING"}


@serve.deployment(**ONE, logging_config=QUIET)
class Plain:
    """The model, asked a request at a time."""

    def __init__(self) -> None:
        self.model = joblib.load(MODEL)

    async def __call__(self, request: Request) -> Any:
        rows = np.array((await request.json())["rows"])
        return {"predictions": self.model.predict_proba(rows)[:, 1].tolist()}


@serve.deployment(**ONE, logging_config=QUIET)
class Batched:
    """The model, asked for what came together."""

    def __init__(self) -> None:
        self.model = joblib.load(MODEL)

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.001)
    async def score(self, rows: list[Any]) -> list[float]:
        return self.model.predict_proba(np.array(rows))[:, 1].tolist()

    async def __call__(self, request: Request) -> Any:
        (row,) = (await request.json())["rows"]
        return {"predictions": [await self.score(row)]}


if __name__ == "__main__":
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT}, logging_config=QUIET)
    serve.run(Plain.bind(), name="plain", route_prefix="/plain")
    serve.run(Batched.bind(), name="batched", route_prefix="/batched")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
