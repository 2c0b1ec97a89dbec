"""What a server answers over HTTP is what the fitted pipelines say: a few segments of real flights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "check_parity.py"


def test_the_server_answers_as_the_originals() -> None:
    options = ["--months", "1", "--models", "6", "--rows", "300", "--json"]
    done = subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["models"] == told["compiled"] == 6
    assert told["rows"] == 1800
    assert 0 < told["worst"] < 1e-5
    assert told["wrong_classes"] == 0
