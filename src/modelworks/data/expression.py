"""SQL expressions over the columns of a row, as Polars runs them."""

from __future__ import annotations

import polars as pl

from modelworks.core.errors import Invalid


def parsed(text: str, what: str) -> pl.Expr:
    """A SQL expression.

    Args:
        text: The expression.
        what: What it is to be, for people: ``"rule"``.

    Raises:
        Invalid: it is no SQL expression.
    """
    try:
        return pl.sql_expr(text)
    except Exception as error:  # Polars raises several kinds
        raise Invalid(
            f"{text[:200]!r} is no {what}", str(error).split("\n")[0], "write it as in SQL"
        ) from error
