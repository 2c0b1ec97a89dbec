"""What counts as defined by a project's code."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelworks.core.errors import Invalid
from modelworks.pipelines.load import load_project

HEAD = """
import modelworks as mw

def data(name):
    return mw.Dataset(
        name, source=mw.Files("data/*.csv"), key="id", time="at",
        contract={"id": str, "at": mw.Time(), "x": float, "y": int},
    )

def fit(X, y, params):
    return None
"""
MODEL = 'mw.model(name={name!r}, dataset={data}, target="y", features=["x"])(fit)'


def defined(folder: Path, body: str, **neighbours: str) -> tuple[list[str], list[str]]:
    (folder / "factory.py").write_text(HEAD + body)
    for name, text in neighbours.items():
        (folder / f"{name}.py").write_text(HEAD + text)
    project = load_project(folder)
    return list(project.datasets), list(project.models)


def test_what_a_loop_makes_counts_though_no_variable_keeps_it(tmp_path: Path) -> None:
    body = 'orders = data("orders")\nfor n in range(3):\n    ' + MODEL.format(name="m", data="orders") + "\n"
    body = body.replace("name='m'", 'name=f"m{n}"')
    assert defined(tmp_path, body) == (["orders"], ["m0", "m1", "m2"])
    assert defined(tmp_path, body) == (["orders"], ["m0", "m1", "m2"])  # loaded once more by the same process


def test_what_a_neighbour_makes_counts_where_it_is_imported_alone_or_in_a_list(tmp_path: Path) -> None:
    one, other = (MODEL.format(name=name, data="orders") for name in ("one", "other"))
    neighbour = f'orders = data("orders")\none = {one}\nseveral = [{other}]\nmore = data("more")\n'
    body = "from near_by_{n} import {names}\n"
    assert defined(tmp_path, body.format(n=1, names="one, orders"), near_by_1=neighbour) == (
        ["orders"],
        ["one"],
    )
    names = "several, orders"
    assert defined(tmp_path, body.format(n=2, names=names), near_by_2=neighbour) == (["orders"], ["other"])
    assert defined(tmp_path, body.format(n=2, names=names)) == (["orders"], ["other"])


def test_two_of_a_name_are_refused_though_the_second_takes_the_variable(tmp_path: Path) -> None:
    one = MODEL.format(name="one", data="orders")
    with pytest.raises(Invalid, match=r"two definitions in .* are called 'one'"):
        defined(tmp_path, f'orders = data("orders")\nmade = {one}\nmade = {one}\n')
