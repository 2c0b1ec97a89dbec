"""NannyML's performance once the truth is known, a chunk a day; run in its environment as `nannyml_drift.py`."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"

import nannyml as nml
import pandas as pd

KINDS = {
    "binary": {
        "problem_type": "classification_binary",
        "metrics": ["roc_auc", "accuracy"],
        "y_pred_proba": "score",
    },
    "regression": {"problem_type": "regression", "metrics": ["rmse"]},
}

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    told = {}
    for case in sorted(path for path in folder.iterdir() if path.is_dir()):
        reference, current = (pd.read_parquet(case / f"{name}.parquet") for name in ("reference", "current"))
        size = int(current.groupby("day").size().median())
        kind = KINDS["binary" if "score" in reference else "regression"]
        begun = time.perf_counter()
        calculator = nml.PerformanceCalculator(y_true="truth", y_pred="answer", chunk_size=size, **kind).fit(
            reference
        )
        found = calculator.calculate(current.drop(columns="day")).filter(period="analysis").to_df()
        alarms = [
            sorted({key[0] for key in found.columns if key[-1] == "alert" and bool(row[key])})
            for _, row in found.iterrows()
        ]
        told[case.name] = {"seconds": time.perf_counter() - begun, "alarms": alarms}
    (folder / "nannyml.json").write_text(json.dumps(told))
