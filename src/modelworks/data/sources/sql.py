"""A table or a query of a SQL database."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
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
_LAG = "5m", 1000
"""How late rows may appear, unless somebody says otherwise: of times, of whole numbers."""
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
            a duration for times (``"5m"`` by default), a number for whole numbers (1,000 by default), 0 for none.
            Within it rows are read again, and those that came already are passed over.
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
        elif self.lag is not None and self.lag < 0:
            raise Invalid(
                f"mw.Sql has lag={self.lag}", "", "give a duration such as '5m', or a number from 0 on"
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
        """Rows that are new by the cursor, in its order; of those with its last value all that there are."""
        column: sa.ColumnElement[Any] = sa.column(cursor)
        top = _value(since["cursor"]) if since else None
        ask = self._select().where(self._after(column, top, since) if since else column.is_not(None))
        names, batches = _fetched(db, ask.order_by(column))
        if cursor not in names:
            raise Invalid(
                f"{self.name} has no column {cursor!r}", f"it has {', '.join(names)}", "correct cursor="
            )
        place, known = names.index(cursor), _Known(since, names)
        total, more, recent, frames = 0, False, known.rows(), []
        for batch in batches:
            new = [row for row in batch if not known.came(row)]
            if total + len(new) >= self.rows:
                new, more = _cut(new, place, self.rows - total, top)
            if new:
                total += len(new)
                frames.append(_frame(names, new))
                last = new[-1][place]
                top = last if top is None or isinstance(last, str) else max(top, last)
                low = self._low(top)
                recent += [(_digest(row), row[place]) for row in new if _from(row[place], low, top)]
                recent = [(digest, value) for digest, value in recent if _from(value, low, top)]
            if more:
                break
        batches.close()
        if not frames:
            return None
        without = db.scalar(sa.select(sa.func.count()).select_from(self._table()).where(column.is_(None)))
        notes = (
            [f"{without:,} rows of {self.name} have no {cursor}: they are not taken in"] if without else []
        )
        if len(recent) > _WINDOW:
            notes.append(
                f"{len(recent):,} rows are within the lag, or have one value of {cursor}: too many to remember, so "
                f"what comes late is taken in only from the next value on"
            )
            recent = []
        upto = {
            "cursor": _plain(top),
            "names": names,
            "seen": [[digest, _plain(value)] for digest, value in recent],
        }
        return Increment(_together(frames), since, upto, more, tuple(notes))

    def _after(self, column: sa.ColumnElement[Any], top: Any, since: Cursor) -> sa.ColumnElement[bool]:
        """Which rows to look at: those from the lag on, or behind the last value where none are remembered."""
        return column >= _bound(self._low(top)) if since["seen"] else column > _bound(top)

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
        timely, whole = isinstance(top, date), isinstance(top, int)
        lag = self.lag
        if lag is None:
            lag = _LAG[0] if timely else _LAG[1] if whole else 0
        if lag == 0:
            return top
        if timely != isinstance(lag, str) or not isinstance(top, date | int | float | Decimal):
            raise Invalid(
                f"the lag {self.lag!r} of {self.name} does not go with its cursor",
                f"{self.cursor} holds {type(top).__name__}",
                "give a duration for times, a number for numbers",
            )
        return top - (duration(lag) if isinstance(lag, str) else lag)  # type: ignore[operator]

    def _table(self) -> sa.FromClause:
        if self.table is not None:
            *schema, name = self.table.split(".")
            return sa.table(name, schema=".".join(schema) or None)
        query = str(self.query).strip().rstrip(";").replace(":", r"\:")  # a colon is no parameter here
        return sa.text(f"({query}) AS source")  # type: ignore[return-value]

    def _select(self) -> sa.Select[Any]:
        return sa.select(sa.text("*")).select_from(self._table())

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


def _fetched(db: sa.Connection, ask: sa.Select[Any]) -> tuple[list[str], Generator[Sequence[Sequence[Any]]]]:
    """Column names, and rows in batches, as they come from the server."""
    result = db.execute(ask)

    def batches() -> Generator[Sequence[Sequence[Any]]]:
        with result:  # whoever has enough leaves the rest with the server
            yield from result.partitions(_BATCH)

    return list(result.keys()), batches()


def _frame(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    columns = zip(*rows, strict=True) if rows else ((),) * len(names)
    return pl.DataFrame([column_of(name, list(values)) for name, values in zip(names, columns, strict=True)])


def _together(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Batches as one; a column of which they have values of different kinds as text, which the contract reads."""
    try:
        return pl.concat(frames, how="vertical_relaxed")
    except pl.exceptions.PolarsError:
        return pl.concat([frame.cast(pl.String) for frame in frames])


class _Known:
    """Rows that came already and are read again; of equal ones as many as came.

    Args:
        since: Where the source was left.
        names: Its columns now; one that was added since does not make rows new.
    """

    def __init__(self, since: Cursor, names: Sequence[str]) -> None:
        self._rows = [(digest, _value(at)) for digest, at in since.get("seen", ())]
        self._left = Counter(digest for digest, _ in self._rows)
        before = since.get("names", names)
        self._places = [names.index(name) for name in before] if set(before) <= set(names) else None

    def rows(self) -> list[tuple[str, Any]]:
        """Digest and value of the cursor of each."""
        return list(self._rows)

    def came(self, row: Sequence[Any]) -> bool:
        """Whether a row is one of them; each is found once."""
        if not self._rows:
            return False
        digest = _digest(row if self._places is None else [row[place] for place in self._places])
        if self._left[digest] <= 0:
            return False
        self._left[digest] -= 1
        return True


def _cut(rows: list[Any], place: int, enough: int, top: Any) -> tuple[list[Any], bool]:
    """Rows up to the first change of the cursor after there are enough; whether any are left out."""
    for n in range(max(enough, 0), len(rows)):
        before = rows[n - 1][place] if n else top
        if rows[n][place] != before:
            return rows[:n], True
    return rows, False


def _from(value: Any, low: Any, top: Any) -> bool:
    """Whether a row with this value is read again; texts are not in the order here that they have there."""
    return bool(value == top if isinstance(value, str) else value >= low)


def _digest(row: Sequence[Any]) -> str:
    plain = [v.astimezone(UTC) if isinstance(v, datetime) and v.tzinfo else v for v in row]
    return blake2b(to_json(plain), digest_size=10).hexdigest()


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
