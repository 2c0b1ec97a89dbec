"""Functions that leave the process: by reference where they can be imported on arrival, else by value."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
from types import ModuleType
from typing import Any

import cloudpickle


def portable(function: Callable[..., Any]) -> bytes:
    """A pickle of `function` that a process with the same import path can load."""
    return dumps(function, foreign(function))


def foreign(function: Callable[..., Any]) -> ModuleType | None:
    """The module of `function` where it can't be imported elsewhere, so that what is in it goes by value.

    That is a script, a notebook, or a file that was loaded under a name of its own (a project's
    ``factory.py``).
    """
    module = inspect.getmodule(function)
    return None if module is None or _importable(module) else module


def dumps(value: Any, module: ModuleType | None) -> bytes:
    """Pickle `value`; functions and classes of `module` go by value, with what they refer to in it."""
    if module is None or module.__name__ in cloudpickle.list_registry_pickle_by_value():
        return bytes(cloudpickle.dumps(value))
    cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps(value))
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
