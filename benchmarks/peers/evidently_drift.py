"""Evidently's data drift preset, a report a day. Run in its environment: ``python evidently_drift.py FOLDER``."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset


def drifted(metric: dict) -> str | None:
    """The column of a metric that says it has drifted: a p-value below, or a distance from the threshold on."""
    config = metric["config"]
    if not config["type"].endswith(":ValueDrift"):
        return None
    value, limit = (
        float(metric["value"]),
        config.get("threshold") or (0.05 if "p_value" in config["method"] else 0.1),
    )
    over = value < limit if "p_value" in config["method"] else value >= limit
    return config["column"] if over else None


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    told = {}
    for case in sorted(path for path in folder.iterdir() if path.is_dir()):
        reference, current = (pd.read_parquet(case / f"{name}.parquet") for name in ("reference", "current"))
        begun = time.perf_counter()
        alarms = []
        for _, rows in current.groupby("day"):
            snapshot = Report([DataDriftPreset()]).run(rows.drop(columns="day"), reference)
            found = [drifted(metric) for metric in snapshot.dict()["metrics"]]
            alarms.append([column for column in found if column])
        told[case.name] = {"seconds": time.perf_counter() - begun, "alarms": alarms}
    (folder / "evidently.json").write_text(json.dumps(told))
