"""Catalogs: what can be plugged into a port, by name, loaded when used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from modelworks.core.errors import NotFound

T = TypeVar("T")


@dataclass(frozen=True)
class Catalog(Generic[T]):
    """The plugs of one port.

    Attributes:
        port: Name of the port; guests register plugs in the entry-point group ``modelworks.<port>``.
        own: The plugs of the house: name to ``"module:attribute"``.
    """

    port: str
    own: Mapping[str, str]
    _loaded: dict[str, T] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def _guests(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=f"modelworks.{self.port}")}

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self.own, *self._guests}))

    def __getitem__(self, name: str) -> T:
        """Load a plug.

        Raises:
            NotFound: no plug of that name; the message lists those there are.
        """
        if name not in self._loaded:
            if name in self.own:
                module, attribute = self.own[name].split(":")
                loaded: Any = getattr(import_module(module), attribute)
            elif name in self._guests:
                loaded = self._guests[name].load()
            else:
                known = ", ".join(self)
                raise NotFound(
                    f"there is no {self.port} called {name!r}", f"known: {known}", "use one of these"
                )
            self._loaded[name] = cast(T, loaded)
        return self._loaded[name]
