"""A simulation as one HTML page that needs nothing else: quality by month, and quality against training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelworks.console import figures
from modelworks.console.card import templates


def page(told: Mapping[str, Any]) -> str:
    """The facts of a `learn.simulation.Simulation` as a page."""
    return templates("html").get_template("simulation.html.j2").render(told=told, figures=figures)
