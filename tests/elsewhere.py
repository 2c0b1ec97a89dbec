"""Tests that run in an environment of their own, because clients are tested unmodified and need what we must not."""

from __future__ import annotations

import ast
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree


def names_of(folder: Path) -> list[str]:
    """The tests in a folder, as ``module.function``, without importing them."""
    return [
        f"{path.stem}.{node.name}"
        for path in sorted(folder.glob("test_*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def run(
    python: Path, folder: Path, report: Path, environment: Mapping[str, str], module: str = ""
) -> dict[str, list[str]]:
    """Run the tests in a folder, which has a ``pytest.ini``, or those in one of its modules.

    Returns:
        What became of them: name to failures.
    """
    command = [python, "-m", "pytest", "-c", folder / "pytest.ini", "--rootdir", folder, folder / module,
               "--junitxml", report]  # fmt: skip
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        command, env={**own, **environment}, cwd=report.parent, capture_output=True, text=True, check=False
    )
    assert report.exists(), done.stdout + done.stderr
    found: dict[str, list[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}.{case.get('name', '').partition('[')[0]}"
        found.setdefault(name, [])
        found[name] += [
            f"{case.get('name')}\n{one.text}" for one in case if one.tag in ("failure", "error", "skipped")
        ]
    assert found, done.stdout + done.stderr
    return found
