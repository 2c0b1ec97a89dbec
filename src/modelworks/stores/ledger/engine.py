"""Opening the ledger: SQLite in WAL by default, PostgreSQL by its URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from modelworks.core.errors import Conflict, Unavailable
from modelworks.core.plain import to_json
from modelworks.stores.ledger.alone import among_files, among_sessions, held_among_files, held_among_sessions
from modelworks.stores.ledger.lease import Leases
from modelworks.stores.ledger.revisions import HEAD, copies, revision
from modelworks.stores.ledger.together import Together

_JSON: dict[str, Any] = {
    "json_serializer": lambda value: to_json(value).decode(),
    "json_deserializer": orjson.loads,
}


class Ledger:
    """One SQL database.

    Use `read` for queries and `write` for changes; each is one transaction. On SQLite a write takes the
    database's only write lock at its start, so two writers wait for each other instead of failing half-way.

    Args:
        url: SQLAlchemy URL.

    Raises:
        Unavailable: the database does not answer.
        Conflict: the ledger is newer than this code.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._migrate()
        except DBAPIError as error:
            self.engine.dispose()
            raise Unavailable(
                "the ledger cannot be opened",
                str(error.orig),
                f"check that {self.engine.url!r} exists and answers",
            ) from error
        except Conflict:
            self.engine.dispose()
            raise

    @cached_property
    def engine(self) -> Engine:
        """The SQLAlchemy engine."""
        if not self.url.startswith("sqlite"):
            return create_engine(self.url, pool_pre_ping=True, **_JSON)
        path = self.url.removeprefix("sqlite:///")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        # A path is no URL: a percent sign in it means nothing.
        place = URL.create("sqlite", database=path)
        engine = create_engine(place, connect_args={"timeout": 30, "check_same_thread": False}, **_JSON)

        @event.listens_for(engine, "connect")
        def _configure(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # transactions are opened by _begin below, not by the driver
            if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                # SQLite does not wait for others who do the same at once: it fails.
                with self.alone("journal"):
                    connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            immediate = connection.get_execution_options().get("modelworks_write")
            connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

        return engine

    def _migrate(self) -> None:
        if self.revision() == HEAD:
            return
        # Alembic takes a while to import and is needed once a version.
        from modelworks.stores.ledger.migrate import upgrade

        with self.alone("migrate"):  # the others wait, however long it takes, and find it done
            if self.revision() != HEAD:
                upgrade(self.write)

    def revision(self) -> str | None:
        """Which migration was the last; ``None`` where there was none yet.

        Raises:
            Conflict: this code does not know it.
        """
        with self.read() as db:
            return revision(db)

    @property
    def copies(self) -> list[Path]:
        """Of an embedded ledger: the copy from before the last upgrade, if there was one."""
        return copies(Path(self.engine.url.database or "")) if self.engine.dialect.name == "sqlite" else []

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for queries: one consistent snapshot."""
        # SQLite's transactions are snapshots in any case.
        options = {} if self.engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        with self.engine.connect().execution_options(**options) as db:
            yield db

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: everything in it happens, or nothing."""
        with self.engine.connect().execution_options(modelworks_write=True) as db, db.begin():
            yield db

    @cached_property
    def leases(self) -> Leases:
        """Work that one process does at a time, and that others take over when it dies or hangs."""
        return Leases(self)

    @cached_property
    def together(self) -> Together:
        """Does small pieces of work, each a transaction to who calls, in common ones."""
        return Together(self.write)

    @contextmanager
    def alone(self, what: str, once: bool = False) -> Iterator[None]:
        """Wait until nobody else is inside `alone` of the same `what`, then be there alone.

        For work of several transactions and stores. If its holder dies, it is free at once; so whoever enters
        and finds the work half done knows that nobody is at it any more. Where a holder may hang, see `leases`.

        Args:
            what: Which work.
            once: Nobody will ever ask for the same again, so nothing is left behind.
        """
        if self.engine.dialect.name == "postgresql":
            place = among_sessions(self.engine, what)
        else:
            place = among_files(self._locks, what, once)
        with place:
            yield

    def held(self, what: str) -> bool:
        """Whether somebody is inside `alone` of the same `what` at this moment."""
        if self.engine.dialect.name == "postgresql":
            return held_among_sessions(self.engine, what)
        return held_among_files(self._locks, what)

    @property
    def _locks(self) -> Path:
        """Folder of the files that are locked."""
        database = Path(self.engine.url.database or "ledger.db")
        return database.with_name(f"{database.name}-locks")

    def close(self) -> None:
        """Give leases and connections back."""
        if "leases" in self.__dict__:
            self.leases.close()
        self.engine.dispose()
