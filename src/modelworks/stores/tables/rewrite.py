"""Data files of a table in a folder, written anew: small ones packed into ordered ones, rows taken out.

Nothing here touches the table: what is made is a `Change`, which belongs to the table once it is committed.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction

from modelworks.stores.tables.integrity import check
from modelworks.stores.tables.parquet import written

PACKED = 1_000_000
"""Rows from which a packed file is full: it is not packed again."""
_GROUP = 16_384
"""Rows that are read together of an ordered file: a reader of few of them reads little else."""
_ALMOST = PACKED * 3 // 4
_TIER = 10_000
"""Files up to this size are packed whatever stands beside them."""


@dataclass(frozen=True)
class Change:
    """Files to put into a table in the place of others, with the same rows or fewer.

    Attributes:
        adds: New files.
        gone: Paths of those that they stand for.
        data: Whether rows are gone too; otherwise only their order is another.
    """

    adds: Sequence[AddAction]
    gone: Sequence[str]
    data: bool

    def actions(self) -> list[AddAction | RemoveAction]:
        """As a commit takes them."""
        now = int(time.time() * 1000)
        removes = [
            RemoveAction(path=path, data_change=self.data, deletion_timestamp=now) for path in self.gone
        ]
        return [*self.adds, *removes]


def files(table: DeltaTable) -> pl.DataFrame:
    """The table's files: ``path``, ``num_records``, and bounds as ``min.COLUMN`` and ``max.COLUMN``."""
    return pl.DataFrame(table.get_add_actions(flatten=True))


def packing(table: DeltaTable, folder: Path, by: Sequence[str], at_least: int) -> Change | None:
    """Write small files anew as few, ordered ones.

    Which are small is decided by tiers, so that a row is written again a logarithmic number of times only,
    however many files follow each other.

    Args:
        table: The table.
        folder: Where its files are.
        by: Columns to order by; those that the table lacks are left out.
        at_least: Fewer files are not worth the work.

    Returns:
        What to commit; ``None`` where nothing is worth it.

    Raises:
        Invalid: one of them is not what was written.
    """
    sizes = files(table).select("path", "num_records").sort("num_records", "path")
    chosen: list[tuple[str, int]] = []
    total = 0
    for path, rows in sizes.iter_rows():
        if rows >= _ALMOST or (chosen and rows > max(2 * total, _TIER)):
            break
        chosen.append((path, rows))
        total += rows
    if len(chosen) < 2 or (len(chosen) < at_least and total < PACKED):
        return None
    order = [name for name in by if name in {column.name for column in table.schema().fields}]
    adds = []
    for group in _groups(chosen):
        check(folder, group)
        rows = _scan(table, folder, group).collect()
        adds.append(written(rows.sort(order) if order else rows, folder, _GROUP, data_change=False))
    return Change(adds, [path for path, _ in chosen], data=False)


def _groups(chosen: Sequence[tuple[str, int]]) -> Iterator[list[str]]:
    """Files that become one: as many rows as memory should hold."""
    group: list[str] = []
    total = 0
    for path, rows in chosen:
        if group and total + rows > PACKED * 3 // 2:
            yield group
            group, total = [], 0
        group.append(path)
        total += rows
    if group:
        yield group


def _scan(table: DeltaTable, folder: Path, paths: Sequence[str]) -> pl.LazyFrame:
    """Rows of some files, with all the table's columns."""
    schema = pl.scan_delta(table).collect_schema()
    return pl.scan_parquet([folder / path for path in paths], schema=schema, missing_columns="insert")


_SLOTS = 1 << 26
"""Places of a filter, a byte each: of a value that is in no file, this many times fewer get through."""


class Hashes:
    """Which files may hold a value of one column.

    Hashes of what they hold are kept in memory: files never change.

    Args:
        limit: Hashes kept in all, eight bytes each; the files that were asked for last stay.
    """

    def __init__(self, limit: int = 20_000_000) -> None:
        self.limit = limit
        self._held: OrderedDict[tuple[Path, str], npt.NDArray[np.uint64]] = OrderedDict()
        self._total = 0
        # A filter for each folder and column says of most values, at once, that no file has them.
        self._filters: dict[tuple[Path, str], tuple[npt.NDArray[np.bool_], set[Path]]] = {}

    def written(self, path: Path, rows: pl.DataFrame) -> None:
        """A file was just written: what is asked about its neighbours will be asked about it too."""
        for folder, column in list(self._filters):
            if folder == path.parent and column in rows.columns:
                self._keep(path, column, rows[column])

    def may_hold(self, paths: Sequence[Path], column: str, values: pl.Series) -> list[Path]:
        """Those of some files that may hold one of some values.

        Args:
            paths: Files of one folder.
            column: The column.
            values: What to look for.
        """
        if not paths:
            return []
        slots, known = self._filters.get((paths[0].parent, column), (None, set[Path]()))
        for path in paths:
            if path not in known:
                self._keep(path, column, _column(path, column))
        slots, known = self._filters[paths[0].parent, column]
        asked = values.hash().to_numpy()
        needles = np.sort(asked[slots[asked % _SLOTS]])
        return [path for path in paths if len(needles) and self._has(path, column, needles)]

    def _has(self, path: Path, column: str, needles: npt.NDArray[np.uint64]) -> bool:
        held = self._held.get((path, column))
        if held is None:
            held = self._keep(path, column, _column(path, column))
        self._held.move_to_end((path, column))
        few, many = sorted((held, needles), key=len)
        if not len(few):
            return False
        at = np.searchsorted(many, few)
        return bool((many[np.minimum(at, len(many) - 1)] == few).any())

    def _keep(self, path: Path, column: str, values: pl.Series) -> npt.NDArray[np.uint64]:
        """Keep a file's hashes, and let the oldest go."""
        held = self._held[path, column] = values.hash().sort().to_numpy()
        place = (path.parent, column)
        if place not in self._filters:
            self._filters[place] = np.zeros(_SLOTS, np.bool_), set()
        slots, known = self._filters[place]
        slots[held % _SLOTS] = True
        known.add(path)
        self._total += len(held)
        while self._total > self.limit and len(self._held) > 1:
            self._total -= len(self._held.popitem(last=False)[1])
        return held


def _column(path: Path, column: str) -> pl.Series:
    """A file's values of a column; none where it was written before there was such a column."""
    if column not in pl.read_parquet_schema(path):
        return pl.Series(column, [], pl.String)
    return pl.read_parquet(path, columns=[column])[column]


@dataclass(frozen=True, eq=False)
class Holding:
    """A file that holds some of the rows that are looked for.

    Attributes:
        path: The file.
        hit: Those rows, whole.
        left: The others.
    """

    path: str
    hit: pl.DataFrame
    left: pl.DataFrame


def holding(table: DeltaTable, folder: Path, rows: pl.DataFrame, known: Hashes) -> Iterator[Holding]:
    """The files that hold some rows.

    Args:
        table: The table.
        folder: Where its files are.
        rows: What to look for: rows that agree with one of these in its columns; null agrees with null.
        known: Hashes of the values of a single column.
    """
    schema = pl.scan_delta(table).collect_schema()
    on = rows.columns
    rows = rows.select(pl.col(name).cast(schema[name]) for name in on)
    one = rows[on[0]] if len(on) == 1 and not rows[on[0]].null_count() else None
    paths = _candidates(files(table), rows)
    if one is not None:
        paths = [path.name for path in known.may_hold([folder / path for path in paths], on[0], one)]
    for path in paths:
        if one is None:
            asked = _scan(table, folder, [path]).select(on)
            if not len(asked.join(rows.lazy(), on=on, how="semi", nulls_equal=True).head(1).collect()):
                continue
        frame = _scan(table, folder, [path]).collect()
        hit = frame.join(rows, on=on, how="semi", nulls_equal=True)
        if len(hit):
            left = frame.join(rows, on=on, how="anti", nulls_equal=True, maintain_order="left")
            yield Holding(path, hit, left)


def without(
    table: DeltaTable, folder: Path, rows: pl.DataFrame, tell: Sequence[str], known: Hashes
) -> tuple[Change | None, pl.DataFrame]:
    """Write the files that hold some rows anew, without these.

    Returns:
        What to commit, ``None`` where no file holds one; and the columns `tell` of the rows taken out.

    Raises:
        Invalid: a file that holds one is not what was written.
    """
    adds, gone = [], []
    told = [said(pl.DataFrame(schema=pl.scan_delta(table).collect_schema()), tell)]
    for one in holding(table, folder, rows, known):
        check(folder, [one.path])
        told.append(said(one.hit, tell))
        gone.append(one.path)
        if len(one.left):
            adds.append(written(one.left, folder, _GROUP if len(one.left) >= _TIER else None))
    return (Change(adds, gone, data=True) if gone else None), pl.concat(told)


def said(rows: pl.DataFrame, tell: Sequence[str]) -> pl.DataFrame:
    """Some columns; one that the table lacks is null."""
    return rows.select(pl.col(name) if name in rows.columns else pl.lit(None).alias(name) for name in tell)


def _candidates(found: pl.DataFrame, rows: pl.DataFrame) -> list[str]:
    """The files whose bounds leave room for one of the rows."""
    room = pl.lit(value=True)
    for name in rows.columns:
        low, high = f"min.{name}", f"max.{name}"
        if low not in found.columns or high not in found.columns or rows[name].null_count():
            continue
        least, most = rows.select(pl.col(name).min().alias("least"), pl.col(name).max().alias("most")).row(0)
        kind = found.schema[low]
        above = pl.col(high) >= pl.lit(least).cast(kind, strict=False)
        below = pl.col(low) <= pl.lit(most).cast(kind, strict=False)
        room &= (above & below).fill_null(value=True)
    return found.filter(room)["path"].to_list()
