"""Delta Lake tables through `deltalake`."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction

from modelworks.core.errors import Invalid, NotFound, Unavailable
from modelworks.stores.tables import integrity
from modelworks.stores.tables.integrity import Damage
from modelworks.stores.tables.parquet import written
from modelworks.stores.tables.port import NOTHING, Commit, Packing
from modelworks.stores.tables.rewrite import PACKED, Change, Hashes, files, holding, packing, said, without

_ATTEMPTS = 20
_PINNED = 8


class _LocalTable(DeltaTable):
    """A table in a folder, which may have a space in its name: Polars takes names of files as they are."""

    def file_uris(self, *args: Any, **kwargs: Any) -> list[str]:
        """Paths; the library gives them encoded as in a URL."""
        return [unquote(uri) for uri in super().file_uris(*args, **kwargs)]


class DeltaTables:
    """Tables below one folder or bucket prefix.

    Open handles are kept: refreshing one reads only the commits that came since.

    Raises:
        Invalid: the folder's name holds what looks encoded, like "%20": the library would decode it.
    """

    def __init__(self, root: str, options: Mapping[str, str] | None = None) -> None:
        self.root = root.rstrip("/")
        self.options = dict(options or {})
        self._local = "://" not in self.root
        if self._local and unquote(self.root) != self.root:
            raise Invalid(
                f"tables cannot be kept in {self.root!r}",
                "a % with two digits in the name of a folder is taken for an encoded character",
                "give the folder another name",
            )
        self._open: dict[str, DeltaTable] = {}
        self._at: dict[tuple[str, int], DeltaTable] = {}
        self._hashes = Hashes()

    def _uri(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _opened(self, name: str, version: int | None = None) -> DeltaTable:
        kind = _LocalTable if self._local else DeltaTable
        return kind(self._uri(name), version=version, storage_options=self.options)

    def _table(self, name: str) -> DeltaTable | None:
        table = self._open.get(name)
        try:
            if table is None:
                if self._local and not Path(self._uri(name), "_delta_log").is_dir():
                    return None
                table = self._open[name] = self._opened(name)
            else:
                table.update_incremental()
        except TableNotFoundError:
            return None
        return table

    def append(
        self,
        name: str,
        rows: pl.DataFrame,
        transaction: tuple[str, int] | None = None,
        positions: Mapping[str, int] = NOTHING,
    ) -> Commit:
        """See `Tables.append`.

        Raises:
            Unavailable: other writers won every one of many attempts.
        """
        properties = _numbers({**positions, **({} if transaction is None else dict([transaction]))})
        file: AddAction | None = None
        for attempt in range(_ATTEMPTS):
            try:
                table = self._table(name)
                # Two who make a table at once do not see each other's transactions: make it empty first.
                table = table or self._make(name, rows)
                if transaction is not None:
                    last = table.transaction_version(transaction[0])
                    if last is not None and last >= transaction[1]:
                        return Commit(table.version(), applied=False)
                if self._local and _schema(rows) == table.schema():
                    # Polars writes a file in half the time; the library only commits it.
                    if len(rows):
                        file = file or self._written(name, rows)
                    table.create_write_transaction(
                        [file] if file else [], "append", table.schema(), commit_properties=properties
                    )
                else:
                    write_deltalake(
                        table,
                        rows,
                        mode="append",
                        schema_mode="merge",
                        commit_properties=properties,
                    )
                table = self._table(name)
            except (
                Exception
            ) as error:  # the library raises bare ones too, for instance when a value does not fit
                if attempt + 1 == _ATTEMPTS or not _is_race(error):
                    raise Unavailable(
                        f"rows could not be added to table {name}",
                        str(error),
                        "try again; check the place of the tables",
                    ) from error
                time.sleep(random.uniform(0, 0.02 * 2 ** min(attempt, 5)))  # noqa: S311 - spreads the writers out
                continue
            assert table is not None
            return Commit(table.version(), applied=True)
        raise AssertionError("unreachable")

    def _written(self, name: str, rows: pl.DataFrame) -> AddAction:
        folder = Path(self._uri(name))
        file = written(rows, folder)
        self._hashes.written(folder / file.path, rows)
        return file

    def _make(self, name: str, rows: pl.DataFrame) -> DeltaTable:
        """A new table without rows; if another process makes it first, that one."""
        DeltaTable.create(self._uri(name), _schema(rows), mode="ignore", storage_options=self.options)
        table = self._table(name)
        assert table is not None
        return table

    def scan(self, name: str, version: int | None = None) -> pl.LazyFrame:
        """See `Tables.scan`."""
        table = self._table(name)
        if table is None:
            raise NotFound(f"there is no table {name}", f"looked in {self.root}", "")
        return pl.scan_delta(table if version is None else self._pinned(name, version))

    def _pinned(self, name: str, version: int) -> DeltaTable:
        """A handle of its own: a lazy frame asks its handle when it is collected; the shared one moves on."""
        table = self._at.pop((name, version), None)
        if table is None:
            try:
                table = self._opened(name, version)
            except (DeltaError, OverflowError) as error:
                raise NotFound(f"table {name} has no version {version}", str(error), "") from error
        self._at[name, version] = table
        if len(self._at) > _PINNED:
            self._at.pop(next(iter(self._at)), None)
        return table

    def exists(self, name: str) -> bool:
        """See `Tables.exists`."""
        return self._table(name) is not None

    def version(self, name: str) -> int:
        """See `Tables.version`."""
        table = self._table(name)
        return -1 if table is None else int(table.version())

    def added(self, name: str, known: Set[str]) -> tuple[pl.LazyFrame | None, frozenset[str]]:
        """See `Tables.added`."""
        table = self._table(name)
        if table is None:
            return None, frozenset()
        there = frozenset(table.file_uris())
        fresh = sorted(there - known)
        if not fresh:
            return None, there
        schema = pl.scan_delta(table).collect_schema()
        rows = pl.scan_parquet(
            fresh,
            schema=schema,
            missing_columns="insert",
            extra_columns="ignore",
            storage_options=self.options or None,
            glob=False,
        )
        return rows, there

    def lows(self, name: str, column: str) -> list[Any]:
        """See `Tables.lows`."""
        table = self._table(name)
        found = pl.DataFrame() if table is None else files(table)
        bound = f"min.{column}"
        return found[bound].drop_nulls().to_list() if bound in found.columns else []

    def state(self, name: str, version: int | None = None) -> str:
        """See `Tables.state`."""
        table = self._at_version(name, version)
        return integrity.state(()) if table is None else integrity.state(files(table)["path"])

    def damaged(
        self, name: str, column: str, version: int | None = None, value: int | None = None
    ) -> list[Damage]:
        """See `Tables.damaged`; of files in a bucket it can't be said."""
        table = self._at_version(name, version) if self._local else None
        if table is None:
            return []
        found = files(table)
        low, high = f"min.{column}", f"max.{column}"
        if value is not None and low in found.columns and high in found.columns:
            within = (pl.col(low) <= value) & (pl.col(high) >= value)
            found = found.filter(within.fill_null(value=True))
        return integrity.damaged(found, Path(self._uri(name)), column)

    def _at_version(self, name: str, version: int | None) -> DeltaTable | None:
        table = self._table(name)
        if table is None or version is None or version == table.version():
            return table
        return self._pinned(name, version)

    def transactions(
        self, name: str, writers: Sequence[str], version: int | None = None
    ) -> Mapping[str, int]:
        """See `Tables.transactions`."""
        table = self._at_version(name, version)
        if table is None:
            return {}
        found = {writer: table.transaction_version(writer) for writer in writers}
        return {writer: number for writer, number in found.items() if number is not None}

    def restore(self, name: str, version: int, positions: Mapping[str, int] = NOTHING) -> None:
        """See `Tables.restore`."""
        table = self._table(name)
        if table is None:
            return
        if version < 0:
            table.delete(commit_properties=_numbers(positions))
        else:
            table.restore(version, commit_properties=_numbers(positions))

    def remove(self, name: str, rows: pl.DataFrame, tell: Sequence[str] | None = None) -> pl.DataFrame:
        """See `Tables.remove`."""
        tell = rows.columns if tell is None else tell
        table = self._table(name)
        if table is None or not len(rows):
            return pl.DataFrame(schema=dict.fromkeys(tell, pl.Null))
        if self._local:
            change, gone = without(table, Path(self._uri(name)), rows, tell, self._hashes)
            if change is not None:
                self._commit(table, change)
            return gone
        on = rows.columns
        gone = pl.scan_delta(table).join(rows.lazy(), on=on, how="semi", nulls_equal=True).collect()
        if len(gone):
            agree = " AND ".join(f"(t.`{c}` = s.`{c}` OR (t.`{c}` IS NULL AND s.`{c}` IS NULL))" for c in on)
            merge = table.merge(gone.select(on).unique(), agree, source_alias="s", target_alias="t")
            merge.when_matched_delete().execute()
        return said(gone, tell)

    def find(
        self, name: str, rows: pl.DataFrame, tell: Sequence[str] | None = None, version: int | None = None
    ) -> pl.DataFrame:
        """See `Tables.find`."""
        tell = rows.columns if tell is None else tell
        table = self._table(name)
        if table is None or not len(rows):
            return pl.DataFrame(schema=dict.fromkeys(tell, pl.Null))
        if version is not None:
            table = self._pinned(name, version)
        scan = pl.scan_delta(table)
        if not self._local:
            return said(scan.join(rows.lazy(), on=rows.columns, how="semi", nulls_equal=True).collect(), tell)
        folder, none = Path(self._uri(name)), pl.DataFrame(schema=scan.collect_schema())
        found = (said(one.hit, tell) for one in holding(table, folder, rows, self._hashes))
        return pl.concat([said(none, tell), *found], how="vertical_relaxed")

    def pack(self, name: str, by: Sequence[str] = (), at_least: int = 2) -> Change | None:
        """See `Tables.pack`; in a bucket the library packs when `swap` is called, without an order."""
        table = self._table(name)
        if table is None:
            return None
        if self._local:
            return packing(table, Path(self._uri(name)), by, at_least)
        small = [
            path for path, rows in files(table).select("path", "num_records").iter_rows() if rows < PACKED
        ]
        return Change([], small, data=False) if len(small) >= at_least else None

    def swap(self, name: str, packing: Packing) -> bool:
        """See `Tables.swap`."""
        table = self._table(name)
        assert table is not None
        if not self._local:
            return bool(table.optimize.compact()["numFilesRemoved"])
        assert isinstance(packing, Change)
        if not set(packing.gone) <= set(files(table)["path"]):
            return False
        self._commit(table, packing)
        table.update_incremental()
        table.create_checkpoint()  # so that older log entries are needed by nobody who reads from here on
        return True

    def _commit(self, table: DeltaTable, change: Change) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                table.create_write_transaction(change.actions(), "append", table.schema())
            except DeltaError as error:
                if attempt + 1 == _ATTEMPTS or not _is_race(error):
                    raise Unavailable(
                        "a table's files could not be changed", str(error), "try again"
                    ) from error
                table.update_incremental()
            else:
                return

    def vacuum(self, name: str, keep: Sequence[int], hours: int = 1) -> int:
        """See `Tables.vacuum`."""
        table = self._table(name)
        if table is None:
            return 0
        kept = sorted({*keep, table.version()})
        files = _data_files(Path(self._uri(name))) if self._local else set()
        deleted = table.vacuum(
            hours,
            dry_run=False,
            enforce_retention_duration=False,
            full=True,
            keep_versions=kept,
        )
        if self._local:
            _forget_log(Path(self._uri(name), "_delta_log"), kept[0], hours)
            deleted = list(files - _data_files(Path(self._uri(name))))
        self._at = {place: table for place, table in self._at.items() if place[0] != name}
        return len(set(deleted))


def _data_files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.parquet")}


def _forget_log(log: Path, oldest: int, hours: int) -> None:
    """Delete the entries of a table's log which nobody needs who reads from version `oldest` on.

    A checkpoint stands for all entries before it ("Checkpoints" in the Delta transaction log protocol).
    """
    points = [int(path.name[:20]) for path in log.glob("*.checkpoint.parquet")]
    start = max((point for point in points if point <= oldest), default=0)
    old = time.time() - hours * 3600
    for path in log.iterdir():
        if path.name[:20].isdigit() and int(path.name[:20]) < start and path.stat().st_mtime <= old:
            path.unlink(missing_ok=True)


def _numbers(positions: Mapping[str, int]) -> CommitProperties | None:
    """Numbers of writers, as a commit takes them."""
    if not positions:
        return None
    return CommitProperties(app_transactions=[Transaction(*one) for one in positions.items()])


def _schema(rows: pl.DataFrame) -> Schema:
    return Schema.from_arrow(rows.head(0).to_arrow(compat_level=pl.CompatLevel.oldest()).schema)


def _is_race(error: Exception) -> bool:
    """Whether another writer came first (worth another attempt) rather than something being wrong."""
    message = str(error).lower()
    return isinstance(error, CommitFailedError) or any(
        sign in message
        for sign in ("conflict", "already exists", "concurrent", "transaction failed", "version mismatch")
    )
