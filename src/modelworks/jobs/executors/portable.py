"""Functions that leave the process: by reference where they can be imported on arrival, else by value."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
from types import ModuleType
from typing import Any

import cloudpickle


def portable(function: Callable[..., Any]) -> bytes:
    """A pickle of `function` that a process with the same import path can load.

    A function of a script, a notebook, or a module that was loaded from a file under a name of its own (a
    project's ``factory.py``) travels by value, with what it refers to in its module.
    """
    module = inspect.getmodule(function)
    if module is None or _importable(module):
        return bytes(cloudpickle.dumps(function))
    cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps(function))
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def _importable(module: ModuleType) -> bool:
    """Whether the import path leads to this very module."""
    path: Any = None
    *parents, name = module.__name__.split(".")
    for position in range(len(parents)):
        package = PathFinder.find_spec(".".join(parents[: position + 1]), path)
        if package is None or package.submodule_search_locations is None:
            return False
        path = list(package.submodule_search_locations)
    if not parents and (BuiltinImporter.find_spec(name) or FrozenImporter.find_spec(name)):
        return True
    found = PathFinder.find_spec(module.__name__, path)
    return found is not None and found.origin == getattr(module, "__file__", None)
