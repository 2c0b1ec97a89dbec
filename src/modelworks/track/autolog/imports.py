"""Doing something to a library when it is imported, now or later, without importing it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

from modelworks.track.autolog import AUTOLOG
from modelworks.track.autolog.port import Recorder, Undo


def watch(name: str, recorder: Recorder) -> Undo:
    """Hook a library of the catalog, now or when it is imported; what is returned ends it.

    Raises:
        NotFound: there is none of that name.
    """
    plug = AUTOLOG[name]
    undo: list[Undo] = []
    imported = Imported(name, lambda: undo.append(plug.hook(recorder)))
    imported.watch()

    def end() -> None:
        imported.forget()
        for one in undo:
            one()

    return end


class Imported(MetaPathFinder):
    """Calls `then` once a module has been imported.

    Args:
        name: The module.
        then: What to do.
    """

    def __init__(self, name: str, then: Callable[[], None]) -> None:
        self._name = name
        self._then = then
        self._looking = False

    def watch(self) -> None:
        """Begin: at once, where the module is there already."""
        if self._name in sys.modules:
            self._then()
        else:
            sys.meta_path.insert(0, self)

    def forget(self) -> None:
        """Watch no longer."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's own spec, with a loader that calls `then` afterwards."""
        if fullname != self._name or self._looking:
            return None
        self._looking = True
        try:
            spec = find_spec(fullname)
        finally:
            self._looking = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Then(spec.loader, self._loaded)
        return spec

    def _loaded(self) -> None:
        self.forget()
        self._then()


class _Then(Loader):
    def __init__(self, inner: Loader, then: Callable[[], None]) -> None:
        self._inner = inner
        self._then = then

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._inner.exec_module(module)
        spec = module.__spec__
        if spec is not None:
            spec.loader = self._inner  # readers of data files ask the loader
        self._then()
