"""The demos, by name."""

from collections.abc import Callable
from typing import Any

from modelworks.core.catalog import Catalog

DEMOS: Catalog[Callable[..., Any]] = Catalog(
    "demo",
    {"flights": "modelworks.demos.flights.demo:run", "ner": "modelworks.demos.ner.demo:run"},
)
"""A year of New York's departures: will this flight arrive more than 15 minutes late? And names in a text."""
