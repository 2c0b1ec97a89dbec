"""KServe's model server in one process, with a model of its own, by the first and second version of its protocol.

Run in KServe's environment: ``python kserve_server.py MODEL PORT FOLDER``.
"""

from __future__ import annotations

import sys
from typing import Any

MODEL, PORT = sys.argv[1], int(sys.argv[2])
sys.argv[1:] = []  # KServe reads the command line when it is imported.

import joblib  # noqa: E402
import kserve  # noqa: E402
import numpy as np  # noqa: E402
from kserve.utils.utils import get_predict_response  # noqa: E402


class Score(kserve.Model):
    """The model, as KServe's own runtime for scikit-learn asks it, but for probabilities."""

    def load(self) -> bool:
        self.model = joblib.load(MODEL)
        self.ready = True
        return True

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        rows = np.array(payload["instances"]) if isinstance(payload, dict) else payload.inputs[0].as_numpy()
        return get_predict_response(payload, self.model.predict_proba(rows)[:, 1], self.name)


if __name__ == "__main__":
    score = Score("score")
    score.load()
    server = kserve.ModelServer(
        http_port=PORT, workers=1, enable_grpc=False, enable_latency_logging=False, access_log_format=None
    )
    server.start([score])
