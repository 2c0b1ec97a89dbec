"""Running a project's ``factory.py`` and collecting what it defines."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from modelworks.core.defined import noting
from modelworks.core.errors import Invalid
from modelworks.data.dataset import Dataset
from modelworks.pipelines import sources
from modelworks.pipelines.project import Model, Project

MODULE = "modelworks_project.factory"
"""Name under which a project's ``factory.py`` is imported; functions in it travel to workers by value."""


def load_project(root: Path) -> Project:
    """Run the project's ``factory.py`` and collect what it defines; without one that is nothing.

    That is what it makes itself, in a loop as well, and what it imports and has in a variable, alone or in a list or
    a dictionary. The project's folder is put on the import path, so that ``factory.py`` can import its neighbours.

    Raises:
        Invalid: it cannot be run, or two definitions share a name.
    """
    path = root / "factory.py"
    if not path.is_file():  # the standalone phase: runs and models logged by hand, no definitions
        return Project(root, {}, {})
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    text = path.read_text(encoding="utf-8", errors="replace")
    spec = spec_from_file_location(MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules.setdefault(MODULE.split(".")[0], ModuleType(MODULE.split(".")[0]))
    sys.modules[MODULE] = module
    try:
        with noting() as noted:
            spec.loader.exec_module(module)
    except Invalid:
        raise
    except Exception as error:
        line = _line_in(path, error)
        raise Invalid(
            f"{path}{line} cannot be run",
            f"{type(error).__name__}: {error}",
            "mend it; 'python factory.py' shows the whole trace",
        ) from error
    datasets: dict[str, Dataset] = {}
    models: dict[str, Model] = {}
    for value in [*(made for where, made in noted if where == MODULE), *_held(vars(module).values())]:
        if isinstance(value, Dataset):
            _add(datasets, value.name, value, path)
        elif isinstance(value, Model):
            _add(models, value.name, value, path)
    return Project(root, datasets, models, sources.collect(root, text))


def _held(values: Iterable[Any]) -> Iterator[Any]:
    """Values, and those of lists and dictionaries among them."""
    for value in values:
        yield value
        if isinstance(value, (list, tuple)):
            yield from value
        elif isinstance(value, dict):
            yield from value.values()


def _add(into: dict[str, Any], name: str, value: Any, path: Path) -> None:
    if name in into and into[name] is not value:
        raise Invalid(f"two definitions in {path} are called {name!r}", "", "rename one of them")
    into[name] = value


def _line_in(path: Path, error: BaseException) -> str:
    """``":LINE"`` of the last frame inside the project's file, the place a person has to look at."""
    trace, line = error.__traceback__, ""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = f":{trace.tb_lineno}"
        trace = trace.tb_next
    return line
