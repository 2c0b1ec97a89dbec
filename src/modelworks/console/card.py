"""A model card as a page: Markdown, or one HTML file that needs nothing else."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, Literal

from jinja2 import Environment, PackageLoader

from modelworks.console import figures

Form = Literal["html", "md"]
_MAIN = (
    "scikit-learn", "lightgbm", "xgboost-cpu", "xgboost", "torch", "river", "spacy", "onnxruntime",
    "skl2onnx", "numpy", "pandas", "modelworks",
)  # fmt: skip
"""Packages that a card names; the others are in the environment's list."""


def page(told: Mapping[str, Any], form: Form = "html") -> str:
    """The facts of `pipelines.card` as a page."""
    packages = told["environment"]["packages"]
    main = {name: packages[name] for name in _MAIN if name in packages}
    text = templates(form).get_template(f"card.{form}.j2").render(card=told, main=main, figures=figures)
    return text if form == "html" else re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


@cache
def templates(form: Form) -> Environment:
    """The templates of pages, with what they may call."""
    made = Environment(
        loader=PackageLoader("modelworks.console", "templates"),
        autoescape=form == "html",  # noqa: S701 - Markdown is made literal by its own filter
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "num": _number,
        "day": _day,
        "when": _when,
        "share": _share,
        "md": _plain,
        "between": _between,
    }
    return made


def _number(value: Any, digits: int = 3) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (abs(value) >= 1000 and math.isfinite(value)):
        return f"{value:,.0f}"
    return f"{value:.{digits}f}" if 0.001 <= abs(value) < 10 else f"{value:.{digits}g}"


def _between(bounds: Any) -> str:
    return "-" if not bounds else f"{_number(bounds[0])} to {_number(bounds[1])}"


def _share(value: Any) -> str:
    return "-" if value is None else f"{value:.1%}"


def _day(text: str | None) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%d") if text else "-"


def _when(text: str | None) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M UTC") if text else "-"


def _plain(value: Any) -> str:
    """Text for a Markdown table or list: what has a meaning there is taken literally."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", " ".join(str(value).split()))
