"""The house stands as it is drawn: floors, docstrings, sizes, catalogs, what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import modelworks
from modelworks.core.catalog import Catalog

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src" / "modelworks").rglob("*.py"))
LONG, LONGEST = 400, 500
"""Lines from which a module is long, of which there may be a few, and lines that none may have."""
HEAVY = {"sklearn", "pandas", "polars", "sqlalchemy", "onnxruntime", "onnx", "pyarrow", "scipy", "numpy"}
"""What ``import modelworks`` must not load."""
EXECUTABLE = Path(sys.executable).parent


def catalogs() -> dict[str, Catalog[object]]:
    """Every catalog of the house by the name of its port."""
    found: dict[str, Catalog[object]] = {}
    for path in SOURCES:
        if path.name == "__init__.py" and "Catalog(" in path.read_text():
            package = ".".join(path.parent.relative_to(ROOT / "src").parts)
            for value in vars(import_module(package)).values():
                if isinstance(value, Catalog):
                    found[value.port] = value
    return found


CATALOGS = catalogs()
ENTRIES = [(port, name) for port, catalog in sorted(CATALOGS.items()) for name in catalog.own]


def test_the_floors_hold() -> None:
    done = subprocess.run(
        [EXECUTABLE / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    said = ast.get_docstring(ast.parse(text))
    assert said, "it has no docstring"
    first = said.splitlines()[0]
    assert first.endswith("."), "its first line is not a sentence of one line"
    assert len(text.splitlines()) <= LONGEST


def test_few_modules_are_long() -> None:
    long = [str(path) for path in SOURCES if len(path.read_text().splitlines()) > LONG]
    assert len(long) <= 3, long


def test_no_module_is_called_what_says_nothing() -> None:
    empty = {"utils", "helpers", "base", "manager", "common", "misc"}
    assert [path for path in SOURCES if path.stem in empty] == []


def test_nobody_inside_imports_the_front_door() -> None:
    doors = {*modelworks.__all__} - {"__version__"}
    guilty = []
    for path in SOURCES:
        if "demos" in path.parts:  # a demo is a user's project
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            whole = isinstance(node, ast.Import) and any(name.name == "modelworks" for name in node.names)
            door = isinstance(node, ast.ImportFrom) and node.module == "modelworks"
            if whole or (door and doors & {name.name for name in node.names}):
                guilty.append(f"{path}:{node.lineno}")
    assert guilty == []


def test_there_are_catalogs() -> None:
    assert {"gate", "strategy"} <= set(CATALOGS)


@pytest.mark.parametrize(("port", "name"), ENTRIES)
def test_every_entry_of_every_catalog_loads_and_is_documented(port: str, name: str) -> None:
    plug = CATALOGS[port][name]
    assert plug is not None
    assert getattr(plug, "__doc__", None), f"{port} {name} has no docstring"


def test_every_name_at_the_front_door_opens() -> None:
    assert [name for name in modelworks.__all__ if getattr(modelworks, name, None) is None] == []
    with pytest.raises(AttributeError, match="it has"):
        _ = modelworks.no_such_thing


def test_importing_the_front_door_loads_nothing_heavy() -> None:
    loaded = modules_after("import modelworks")
    assert loaded & HEAVY == set()


def test_the_command_lines_help_loads_nothing_heavy() -> None:
    loaded = modules_after("import modelworks.cli")
    assert loaded & (HEAVY - {"numpy"}) == set()


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_every_module_can_be_imported_alone() -> None:
    names = [module.name for module in walk_packages(modelworks.__path__, "modelworks.")]
    names = [name for name in names if ".migrations" not in name and not name.endswith("__main__")]
    for name in names:
        import_module(name)


def test_every_room_is_drawn_in_the_documentation() -> None:
    drawing = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
    rooms = {path.parent.relative_to(ROOT / "src" / "modelworks") for path in SOURCES}
    names = {room.name for room in rooms if room.name and "migrations" not in room.parts}
    assert [name for name in sorted(names) if f"{name}/" not in drawing] == []
