"""MLflow's scoring server in one worker: `mlflow models serve`.

Run in MLflow's environment: ``python mlflow_server.py MODEL PORT FOLDER``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import joblib
import mlflow.sklearn

if __name__ == "__main__":
    model, port, folder = sys.argv[1:]
    made = Path(folder) / "model"
    # Requirements are given, because finding them takes longer than all the rest.
    mlflow.sklearn.save_model(
        joblib.load(model), made, pyfunc_predict_fn="predict_proba", pip_requirements=["scikit-learn"],
        serialization_format="cloudpickle",
    )  # fmt: skip
    os.environ |= {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "UVICORN_ACCESS_LOG": "false",
    }
    serve = [
        "models",
        "serve",
        "-m",
        str(made),
        "--env-manager",
        "local",
        "-h",
        "127.0.0.1",
        "-p",
        port,
        "-w",
        "1",
    ]
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *serve])
