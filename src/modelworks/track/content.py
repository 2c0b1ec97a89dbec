"""Figures and tables as the bytes that are kept of them."""

from __future__ import annotations

import sys
from io import BytesIO
from typing import Any

from modelworks.core.errors import Invalid

_LOOKED_INTO = 64 * 1024 * 1024
_MOST_ROWS = 1000
"""Of a table that is looked into: bytes of its first part, unpacked, and rows."""


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


def first_rows(kept: bytes, name: str, limit: int) -> dict[str, Any]:
    """The columns of a table, which of them are numbers, its first rows, and how many there are.

    Raises:
        Invalid: it is no Parquet, or its first part is too large to look into.
    """
    import polars as pl
    import pyarrow.parquet as pq

    try:
        about = pq.read_metadata(BytesIO(kept))
        if about.num_row_groups and about.row_group(0).total_byte_size > _LOOKED_INTO:
            raise Invalid(f"{name} is too large to be shown", f"the limit is {_LOOKED_INTO} bytes", "save it")
        rows = pl.read_parquet(BytesIO(kept), n_rows=min(max(limit, 0), _MOST_ROWS))
    except Invalid:
        raise
    except Exception as error:
        raise Invalid(f"{name} is no table", str(error)[:200], "save it as it is") from error
    return {
        "columns": rows.columns,
        "numbers": [kind.is_numeric() for kind in rows.dtypes],
        "rows": rows.rows(),
        "total": about.num_rows,
    }
