"""A table or a query of a SQL database."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy import exc

from modelworks.core.duration import duration
from modelworks.core.errors import Invalid, NotReady, Unavailable
from modelworks.core.plain import to_json
from modelworks.data.sources.port import Cursor, Increment
from modelworks.data.streams.messages import column_of

_BATCH = 50_000
"""Rows that are fetched at once."""
_WINDOW = 200_000
"""Most rows that are remembered because they are within the lag, or have the cursor's last value."""
_WHOLE = 5_000_000
"""Most rows of a table without a cursor: it is read as a whole."""
_PATIENCE = 10
"""Seconds within which a PostgreSQL server answers."""
_ENV = "env:"


@dataclass(frozen=True)
class Sql:
    """A table or a query of a database: ``mw.Sql("env:SHOP_DB", table="orders", cursor="updated_at")``.

    With a cursor (a column that grows: an id, or the time of the last change) only rows come that are new by it, and
    each once: rows with the cursor's last value are remembered, so that another one which comes later with the same
    value is not lost. A row that is changed without its cursor being moved is not seen, one that is deleted stays.
    Without a cursor the whole table is read each time, and taken in when it is another; a dataset of such a source
    needs a key.

    Attributes:
        url: SQLAlchemy URL, or ``"env:NAME"`` for the environment variable that holds it. A relative path of SQLite
            is below the project.
        table: Name of the table, also ``"schema.table"``; or
        query: a SELECT without an ORDER BY.
        cursor: Column that grows.
        lag: How far behind the cursor rows may still appear, because their transaction ends after that of later ones:
            a duration such as ``"5m"`` for times, a number for numbers. Within it rows are read again, and those that
            came already are passed over.
        rows: Most rows that become one version; a first load takes several.

    Raises:
        Invalid: not one of `table` and `query`, a lag that is none, too few rows.
    """

    url: str = field(repr=False)  # it may hold a password
    table: str | None = None
    query: str | None = None
    cursor: str | None = None
    lag: str | int | None = None
    rows: int = 500_000

    def __post_init__(self) -> None:
        if (self.table is None) == (self.query is None):
            raise Invalid(
                "mw.Sql needs a table or a query, and not both", "", "write for instance table='orders'"
            )
        if self.lag is not None and self.cursor is None:
            raise Invalid("mw.Sql has a lag without a cursor", "", "name the column that grows with cursor=")
        if isinstance(self.lag, str):
            duration(self.lag)
        elif self.lag is not None and self.lag <= 0:
            raise Invalid(
                f"mw.Sql has lag={self.lag}", "", "give a duration such as '5m', or a number above 0"
            )
        if self.rows < 1:
            raise Invalid("mw.Sql takes in at least one row at a time", f"rows={self.rows}", "leave it out")

    @property
    def name(self) -> str:
        """See `Incremental.name`."""
        what = self.table or f"query {blake2b(str(self.query).encode(), digest_size=6).hexdigest()}"
        if self.url.startswith(_ENV):
            return f"sql:{self.url.removeprefix(_ENV)}#{what}"
        url = self._url()
        port = f":{url.port}" if url.port else ""
        return f"sql:{url.get_backend_name()}:{url.host or ''}{port}/{url.database or ''}#{what}"

    @property
    def again(self) -> bool:
        """See `Incremental.again`."""
        return self.cursor is None

    def increment(self, root: Path, since: Cursor) -> Increment | None:
        """See `Incremental.increment`."""
        with self._connected(root) as db:
            return self._whole(db, since) if self.cursor is None else self._newer(db, self.cursor, since)

    def _newer(self, db: sa.Connection, cursor: str, since: Cursor) -> Increment | None:
        """Rows that are new by the cursor, in its order."""
        column: sa.ColumnElement[Any] = sa.column(cursor)
        seen = {digest: _value(at) for digest, at in since.get("seen", ())}
        values, top = set(seen.values()), _value(since["cursor"]) if since else None
        ask = self._select().where(column.is_not(None) if top is None else column >= _bound(self._low(top)))
        limit = self.rows + len(seen)  # so that what came already leaves room for something new
        names, batches = _fetched(db, ask.order_by(column).limit(limit))
        if cursor not in names:
            raise Invalid(
                f"{self.name} has no column {cursor!r}", f"it has {', '.join(names)}", "correct cursor="
            )
        place, total, recent, frames = names.index(cursor), 0, list(seen.items()), []
        for batch in batches:
            total += len(batch)
            new = [row for row in batch if row[place] not in values or _digest(row) not in seen]
            if not new:
                continue
            frames.append(_frame(names, new))
            last = new[-1][place]
            top = last if top is None or self.lag is None else max(top, last)
            recent += [(_digest(row), row[place]) for row in new if self._recent(row[place], top)]
            recent = [(digest, value) for digest, value in recent if self._recent(value, top)]
            if len(recent) > _WINDOW:
                raise Invalid(
                    f"{self.name} has more than {_WINDOW:,} rows at once within its lag, or with one value of {cursor}",
                    "they are remembered, to tell which of them came",
                    "choose a cursor that tells rows apart, or a shorter lag",
                )
        if not frames:
            return None
        upto = {"cursor": _plain(top), "seen": [[digest, _plain(value)] for digest, value in recent]}
        without = db.scalar(sa.select(sa.func.count()).select_from(self._from()).where(column.is_(None)))
        notes = (f"{without:,} rows without a {cursor} are not taken in",) if without else ()
        return Increment(_together(frames), since, upto, total == limit, notes)

    def _whole(self, db: sa.Connection, since: Cursor) -> Increment | None:
        """All rows, if they are not those of the last time."""
        names, batches = _fetched(db, self._select().limit(_WHOLE + 1))
        rows = _together([_frame(names, []), *(_frame(names, batch) for batch in batches)])
        if len(rows) > _WHOLE:
            raise Invalid(
                f"{self.name} has more than {_WHOLE:,} rows",
                "without a cursor it is read as a whole",
                "name one",
            )
        # In whatever order they come. Another version of Polars gives other hashes: then they come once more.
        upto = {"polars": pl.__version__, "rows": len(rows), "hash": int(rows.hash_rows().sum() or 0)}
        return None if upto == since or not len(rows) else Increment(rows, since, upto, more=False)

    def _low(self, top: Any) -> Any:
        """From where on rows are read again."""
        if self.lag is None:
            return top
        timely = isinstance(top, date)
        if timely != isinstance(self.lag, str) or not isinstance(top, date | int | float | Decimal):
            raise Invalid(
                f"the lag {self.lag!r} of {self.name} does not go with its cursor",
                f"{self.cursor} holds {type(top).__name__}",
                "give a duration for times, a number for numbers",
            )
        return top - (duration(self.lag) if isinstance(self.lag, str) else self.lag)  # type: ignore[operator]

    def _recent(self, value: Any, top: Any) -> bool:
        """Whether rows with this value are read again."""
        return bool(value == top if self.lag is None else value >= self._low(top))

    def _from(self) -> sa.FromClause:
        if self.table is not None:
            *schema, name = self.table.split(".")
            return sa.table(name, schema=".".join(schema) or None)
        return sa.text(f"({self.query}) AS source")  # type: ignore[return-value]

    def _select(self) -> sa.Select[Any]:
        return sa.select(sa.text("*")).select_from(self._from())

    def _url(self) -> sa.URL:
        text = self.url
        if text.startswith(_ENV):
            variable = text.removeprefix(_ENV)
            text = os.environ.get(variable, "")
            if not text:
                raise Invalid(f"the environment has no {variable}", "mw.Sql takes its URL from it", "set it")
        try:
            return sa.make_url(text)
        except exc.ArgumentError:
            raise Invalid(
                "mw.Sql has a URL that is none",
                "",
                "write for instance postgresql+psycopg://user@host/database",
            ) from None

    @contextmanager
    def _connected(self, root: Path) -> Iterator[sa.Connection]:
        """A connection; what goes wrong in it becomes an error that a person can act on, without secrets."""
        url, options = self._url(), {}
        if url.get_backend_name() == "sqlite" and url.database:
            url = url.set(database=str(root / url.database))
            if not Path(str(url.database)).is_file():  # SQLite would make one
                raise Unavailable(
                    f"{self.name} cannot be reached", "there is no such file", "check mw.Sql's URL"
                )
        if url.get_backend_name() == "postgresql":
            options = {"connect_timeout": _PATIENCE}
        try:
            engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=options)
        except (exc.NoSuchModuleError, ImportError) as error:
            raise NotReady(
                f"{self.name} cannot be read", str(error), f"install the library for {url.drivername}"
            ) from error
        try:
            with engine.connect().execution_options(stream_results=True, max_row_buffer=_BATCH) as db:
                yield db
        except exc.DBAPIError as error:
            says = str(error.orig).strip()
            if url.password:
                says = says.replace(str(url.password), "***")
            if isinstance(error, exc.ProgrammingError) or says.startswith(_WRONG):
                raise Invalid(
                    f"{self.name} cannot be read", says, "correct the table, query or cursor"
                ) from error
            raise Unavailable(
                f"{self.name} cannot be reached", says, "it is tried again next time"
            ) from error


_WRONG = ("no such", "near ", "incomplete input", "unrecognized token", "ambiguous")
"""How SQLite begins what others call a programming error."""


def _bound(value: Any) -> sa.BindParameter[Any]:
    """A value to compare with; a moment with a zone must not lose it on the way."""
    zoned = isinstance(value, datetime) and value.tzinfo is not None
    return sa.bindparam("low", value, sa.DateTime(timezone=True) if zoned else None)


def _fetched(db: sa.Connection, ask: sa.Select[Any]) -> tuple[list[str], Iterator[Sequence[Sequence[Any]]]]:
    """Column names, and rows in batches, as they come from the server."""
    result = db.execute(ask)
    return list(result.keys()), result.partitions(_BATCH)


def _frame(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    columns = zip(*rows, strict=True) if rows else ((),) * len(names)
    return pl.DataFrame([column_of(name, list(values)) for name, values in zip(names, columns, strict=True)])


def _together(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Batches as one; a column of which they have values of different kinds as text, which the contract reads."""
    try:
        return pl.concat(frames, how="vertical_relaxed")
    except pl.exceptions.PolarsError:
        return pl.concat([frame.cast(pl.String) for frame in frames])


def _digest(row: Sequence[Any]) -> str:
    return blake2b(to_json(list(row)), digest_size=10).hexdigest()


def _plain(value: Any) -> Any:
    """A cursor's value as the ledger keeps it."""
    kind = next((name for name, kind in _KINDS.items() if type(value) is kind), None)
    if kind is None:
        return value
    return {kind: str(value) if isinstance(value, Decimal) else value.isoformat()}


def _value(plain: Any) -> Any:
    """The inverse of `_plain`."""
    if not isinstance(plain, dict):
        return plain
    ((kind, text),) = plain.items()
    return Decimal(text) if kind == "decimal" else _KINDS[kind].fromisoformat(text)


_KINDS: dict[str, Any] = {"datetime": datetime, "date": date, "decimal": Decimal}
