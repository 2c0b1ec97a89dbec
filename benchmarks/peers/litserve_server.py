"""LitServe with one API server and one worker, a request at a time.

Run in LitServe's environment: ``python litserve_server.py MODEL PORT FOLDER``. Its batching gave less than half of that
(331 requests a second against 763), and keeps a fifth of a core busy when nobody asks, so it is left out.
"""

from __future__ import annotations

import sys
from typing import Any

import joblib
import litserve
import numpy as np

MODEL, PORT = sys.argv[1], int(sys.argv[2])


class Score(litserve.LitAPI):
    """The model behind the hooks that a request passes."""

    def setup(self, device: str) -> None:
        self.model = joblib.load(MODEL)

    # With a type, the request would be taken for a parameter of the query.
    def decode_request(self, request):  # type: ignore[no-untyped-def]
        return np.array(request["rows"])

    def predict(self, rows: Any) -> Any:
        return self.model.predict_proba(rows)[:, 1]

    def encode_response(self, output: Any) -> Any:
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Score(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=PORT, num_api_servers=1, log_level="warning", generate_client_file=False
    )
