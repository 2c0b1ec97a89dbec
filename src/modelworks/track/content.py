"""Figures and tables as the bytes that are kept of them."""

from __future__ import annotations

import sys
from io import BytesIO
from typing import Any

from modelworks.core.errors import Invalid


def figure(drawn: Any, name: str) -> tuple[str, bytes]:
    """A figure with the name of its file.

    What it is, is asked of the object, so that no library is imported for it.

    Raises:
        Invalid: it is no figure.
    """
    if hasattr(drawn, "savefig"):  # matplotlib, seaborn
        buffer = BytesIO()
        drawn.savefig(buffer, format=_ending(name) or "png", bbox_inches="tight")
        return name if _ending(name) else f"{name}.png", buffer.getvalue()
    if hasattr(drawn, "get_figure"):  # an axis of matplotlib
        return figure(drawn.get_figure(), name)
    page = f"{name.removesuffix('.html')}.html"
    if hasattr(drawn, "to_html"):  # plotly, altair
        text = (
            drawn.to_html(include_plotlyjs="cdn") if "plotly" in type(drawn).__module__ else drawn.to_html()
        )
        return page, text.encode()
    raise Invalid(
        f"{type(drawn).__name__} is not a figure",
        "",
        "give one of matplotlib, plotly or altair, or log_artifact",
    )


def _ending(name: str) -> str:
    ending = name.rpartition(".")[2]
    return ending if ending in ("png", "svg", "pdf", "jpg") and ending != name else ""


def table(frame: Any, name: str) -> tuple[str, bytes]:
    """A frame as Parquet, with the name of its file.

    Raises:
        Invalid: it is no table.
    """
    import polars as pl

    pandas = sys.modules.get("pandas")
    try:
        if pandas is not None and isinstance(frame, pandas.DataFrame):
            rows = pl.from_pandas(frame)
        else:
            rows = frame.collect() if isinstance(frame, pl.LazyFrame) else pl.DataFrame(frame)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise Invalid(
            f"{type(frame).__name__} is not a table", str(error)[:200], "give a frame or a dict of columns"
        ) from error
    buffer = BytesIO()
    rows.write_parquet(buffer)
    return f"{name.removesuffix('.parquet')}.parquet", buffer.getvalue()
