"""A simulation as one HTML page that needs nothing else: quality by month, and quality against training."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader

from modelworks.console import figures


def page(told: Mapping[str, Any]) -> str:
    """The facts of a `learn.simulation.Simulation` as a page."""
    return _templates().get_template("simulation.html.j2").render(told=told, figures=figures)


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("modelworks.console", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
