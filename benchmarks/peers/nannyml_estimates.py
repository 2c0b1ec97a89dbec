"""NannyML's univariate drift and its estimate of the AUC, a chunk a day; run as `nannyml_drift.py`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"

import nannyml as nml
import pandas as pd

CONTINUOUS = ["kolmogorov_smirnov", "wasserstein"]
CATEGORICAL = ["chi2", "jensen_shannon"]
OUTPUT = ["score", "answer", "truth"]

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    told = {}
    for case in sorted(path for path in folder.iterdir() if path.is_dir()):
        reference, current = (pd.read_parquet(case / f"{name}.parquet") for name in ("reference", "current"))
        size = int(current.groupby("day").size().min())
        current = current.drop(columns="day")
        columns = [name for name in reference.columns if name not in OUTPUT]
        drift = nml.UnivariateDriftCalculator(
            column_names=columns,
            continuous_methods=CONTINUOUS,
            categorical_methods=CATEGORICAL,
            chunk_size=size,
        ).fit(reference)
        found = drift.calculate(current).filter(period="analysis").to_df()
        values = {
            f"{column} {method}": found[column, method, "value"].tolist()
            for column, method, what in found.columns
            if what == "value"
        }
        kind = {
            "problem_type": "classification_binary",
            "metrics": ["roc_auc"],
            "y_pred_proba": "score",
            "y_pred": "answer",
            "y_true": "truth",
            "chunk_size": size,
        }
        estimated = nml.CBPE(**kind).fit(reference)
        foretold = estimated.estimate(current.drop(columns="truth")).filter(period="analysis").to_df()
        measured = nml.PerformanceCalculator(**kind).fit(reference).calculate(current)
        told[case.name] = {
            "drift": values,
            "estimated": foretold["roc_auc", "value"].tolist(),
            "measured": measured.filter(period="analysis").to_df()["roc_auc", "value"].tolist(),
            "recalibrated": bool(estimated.needs_calibration),
        }
    (folder / "nannyml.json").write_text(json.dumps(told))
