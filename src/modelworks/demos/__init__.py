"""The demos, by name."""

from modelworks.core.catalog import Catalog
from collections.abc import Callable
from typing import Any

DEMOS: Catalog[Callable[..., Any]] = Catalog("demo", {"flights": "modelworks.demos.flights.demo:run"})
