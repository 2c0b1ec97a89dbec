"""The notebooks of examples/, executed as a reader would."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest

import modelworks as mw

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def code(book: Any) -> list[str]:
    return [cell.source for cell in book.cells if cell.cell_type == "code"]


def lines(source: str) -> int:
    """Lines of code, and statements where several share a line."""
    written = [line for line in source.splitlines() if line.strip() and not line.strip().startswith("#")]
    said = sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(source)))
    return max(len(written), said)


def test_from_a_csv_to_a_served_model_in_under_twelve_lines(tmp_path: Path) -> None:
    from nbclient import NotebookClient

    folder = tmp_path / "examples"
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns(".modelworks"))
    book = nbformat.read(folder / "from-csv-to-served.ipynb", as_version=4)
    assert 0 < sum(lines(source) for source in code(book)) < 12
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    # What the reader is left with is asked about as well: one more cell, that is not the notebook's.
    asked = "import json; print(json.dumps([server.url, float(late.predict_proba(X.tail(1))[0, 1])]))"
    book.cells.append(nbformat.v4.new_code_cell(asked))
    client = NotebookClient(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    shown = [cell.outputs for cell in book.cells if cell.cell_type == "code"]
    html = shown[1][-1]["data"]["text/html"]
    assert "roc_auc" in html
    assert "late@1" in html
    assert "proven equal" in html
    answers = ast.literal_eval(shown[2][-1]["data"]["text/plain"])["predictions"]
    assert len(answers) == 2
    told = ast.literal_eval(shown[3][-1]["text"])
    assert answers[-1]["output"] == pytest.approx(told[1], abs=1e-4)
    with mw.Factory(folder) as factory:
        (run,) = factory.runs("status = 'done'")
        assert 0.55 < run["metrics"]["roc_auc"] < 0.75
        (live,) = factory.deployments()
        assert live["metrics"]["roc_auc"] == run["metrics"]["roc_auc"]


def test_the_flights_are_those_of_the_package() -> None:
    import importlib.util

    import polars as pl

    spec = importlib.util.spec_from_file_location("flights_example", EXAMPLES / "flights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
        made = module.flights()
    kept = pl.read_csv(EXAMPLES / "flights.csv")
    assert made["late"].to_list() == kept["late"].to_list()
    assert made["distance"].to_list() == kept["distance"].to_list()
