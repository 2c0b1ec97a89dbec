"""Evidently and NannyML at the work of monitoring, each in an environment of its own (`make peers`).

A peer is given a folder of cases. A case is a folder with ``reference.parquet`` and ``current.parquet``, the latter
with a column ``day``; it answers, for each case, how long it took and which columns it raises an alarm for on each
day, by its own defaults.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NAMES = ("evidently", "nannyml")


@dataclass(frozen=True)
class Said:
    """What a peer says of one case.

    Attributes:
        seconds: How long it took, without starting and importing.
        alarms: For each day the columns that have drifted.
    """

    seconds: float
    alarms: list[list[str]]


def missing(name: str) -> str:
    """Why a peer cannot be asked; empty if it can."""
    return "" if _python(name).exists() else "not installed: 'make peers' makes its environment"


def ask(name: str, folder: Path, about: str = "drift") -> dict[str, Said]:
    """Let a peer judge all cases of a folder."""
    return {case: Said(**one) for case, one in told(name, folder, about).items()}


def told(name: str, folder: Path, about: str) -> dict[str, Any]:
    """What a peer's script says of each case of a folder."""
    command = [_python(name), "-W", "ignore", HERE / "peers" / f"{name}_{about}.py", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return found


def _python(name: str) -> Path:
    return HERE.parent / ".venv-peers" / name / "bin/python"
