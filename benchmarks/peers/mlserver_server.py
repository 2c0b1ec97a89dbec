"""MLServer with its runtime for scikit-learn, in one process, with and without adaptive batching.

Run in MLServer's environment: ``python mlserver_server.py MODEL PORT FOLDER``; the two ports above PORT are taken too.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

BATCHING = {"max_batch_size": 64, "max_batch_time": 0.001}

if __name__ == "__main__":
    model, port, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    server = {"host": "127.0.0.1", "http_port": port, "grpc_port": port + 1, "metrics_port": port + 2,
              "parallel_workers": 0, "debug": False, "logging_settings": None}  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(server))
    for name, more in {"plain": {}, "batched": BATCHING}.items():
        (folder / name).mkdir()
        told = {"name": name, "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": model}}
        (folder / name / "model-settings.json").write_text(json.dumps(told | more))
    os.execv(Path(sys.executable).parent / "mlserver", ["mlserver", "start", str(folder)])
