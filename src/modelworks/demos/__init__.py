"""The demos, by name."""

from collections.abc import Callable
from typing import Any

from modelworks.core.catalog import Catalog

DEMOS: Catalog[Callable[..., Any]] = Catalog("demo", {"flights": "modelworks.demos.flights.demo:run"})
