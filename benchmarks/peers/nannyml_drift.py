"""NannyML's univariate drift, a chunk a day. Run in its environment: ``python nannyml_drift.py FOLDER``."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"

import nannyml as nml
import pandas as pd

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    told = {}
    for case in sorted(path for path in folder.iterdir() if path.is_dir()):
        reference, current = (pd.read_parquet(case / f"{name}.parquet") for name in ("reference", "current"))
        columns = list(reference.columns)
        size = int(current.groupby("day").size().median())
        # Thresholds come of chunks of the reference: it takes several, of the size of a day's.
        chunks = {"chunk_size": size} if len(reference) >= 5 * size else {"chunk_number": 10}
        begun = time.perf_counter()
        calculator = nml.UnivariateDriftCalculator(column_names=columns, **chunks).fit(reference)
        found = calculator.calculate(current.drop(columns="day")).filter(period="analysis").to_df()
        alarms = [
            sorted({key[0] for key in found.columns if key[-1] == "alert" and bool(row[key])})
            for _, row in found.iterrows()
        ]
        told[case.name] = {"seconds": time.perf_counter() - begun, "alarms": alarms}
    (folder / "nannyml.json").write_text(json.dumps(told))
