"""BentoML in one worker process: its own script, `bentoml serve`, with and without adaptive batching.

Run in BentoML's environment: ``python bentoml_server.py MODEL PORT FOLDER``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bentoml
import joblib
import numpy as np


@bentoml.service(workers=1, threads=1, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Score:
    """The model, asked a request at a time, and by batches."""

    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api
    async def plain(self, rows: list[list[float]]) -> list[float]:
        return self.model.predict_proba(np.array(rows))[:, 1].tolist()

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    async def batched(self, rows: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(rows)[:, 1]


if __name__ == "__main__":
    model, port, folder = sys.argv[1:]
    os.environ |= {"MODEL": model, "BENTOML_HOME": folder, "BENTOML_DO_NOT_TRACK": "True"}
    here = str(Path(__file__).parent)
    serve = ["serve", "bentoml_server:Score", "--working-dir", here, "--host", "127.0.0.1", "--port", port]
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", *serve])
