"""Whether the files of a table are those that were written: the name of a file says the digest of its content.

A table's log names its files, so a digest of these names stands for all that is in them. Files that the library
wrote itself, in a bucket, have names that say nothing; of these only the list is known.

Source of the idea: Merkle, "A Digital Signature Based on a Conventional Encryption Function" (1987).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
from blake3 import blake3

from modelworks.core.errors import Invalid

_NAME = re.compile(r"part-([0-9a-f]{32})-[0-9a-f]{8}\.")
_LETTERS = 64


@dataclass(frozen=True)
class Damage:
    """A file that is not what was written.

    Attributes:
        file: Its name.
        why: What is wrong, a few words.
        rows: Rows that were written.
        first: Least value that the column asked for had when it was written; ``None`` where nothing is known.
        last: Largest value of it.
        columns: Columns whose bounds or number of missing values are others now, so far as it can be read.
    """

    file: str
    why: str
    rows: int
    first: int | None = None
    last: int | None = None
    columns: Sequence[str] = ()


def named(path: Path) -> Path:
    """Give a file that was just written the name that says its content; the end of it makes it the only one."""
    whole = path.with_name(f"part-{_digest(path)}-{uuid4().hex[:8]}{''.join(path.suffixes)}")
    path.rename(whole)
    return whole


def state(names: Iterable[str]) -> str:
    """A digest of the files of a table, in whatever order, and so of what is in them."""
    return blake3("\n".join(sorted(names)).encode()).hexdigest()


def check(folder: Path, names: Sequence[str]) -> None:
    """Make sure that files are what was written, before others are made of them.

    Raises:
        Invalid: one is not.
    """
    for name in names:
        why = _wrong(folder / name)
        if why:
            raise Invalid(
                f"the file {name} of {folder.name} {why}",
                "something else than Modelworks changed it, or the disk did",
                "'modelworks data verify' says which rows it holds; restore it from a backup",
            )


def damaged(written: pl.DataFrame, folder: Path, column: str) -> list[Damage]:
    """The files that are not what was written.

    Args:
        written: The table's files, as `rewrite.files` gives them.
        folder: Where they are.
        column: Of this one the bounds are told.
    """
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda name: _wrong(folder / name), written["path"])
        return [
            _damage(line, folder, column, why)
            for line, why in zip(written.iter_rows(named=True), found, strict=True)
            if why
        ]


def _wrong(path: Path) -> str:
    said = _NAME.match(path.name)
    try:
        if said is None or _digest(path) == said[1]:
            return "" if path.exists() else "is gone"
    except FileNotFoundError:
        return "is gone"
    except OSError as error:
        return f"cannot be read: {error}"
    return "has another content than was written"


def _digest(path: Path) -> str:
    return blake3().update_mmap(path).hexdigest(length=16)


def _damage(line: dict[str, Any], folder: Path, column: str, why: str) -> Damage:
    changed: list[str] = []
    if (folder / line["path"]).exists():
        try:
            rows = pl.read_parquet(folder / line["path"])
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
            why += ", and cannot be read"
        else:
            changed = [name for name in rows.columns if _moved(line, rows[name])]
            if len(rows) != line["num_records"]:
                why += f": {len(rows):,} rows"
    return Damage(
        line["path"], why, line["num_records"], line.get(f"min.{column}"), line.get(f"max.{column}"), changed
    )


def _moved(line: dict[str, Any], values: pl.Series) -> bool:
    """Whether bounds or missing values of a column are not those that its file had when it was written."""
    told = [
        (line.get(f"null_count.{values.name}"), values.null_count()),
        (line.get(f"min.{values.name}"), values.min()),
        (line.get(f"max.{values.name}"), values.max()),
    ]
    return any(was is not None and _cut(was) != _cut(now) for was, now in told)


def _cut(value: Any) -> Any:
    """Of a text so much as the log keeps."""
    return value[:_LETTERS] if isinstance(value, str) else value
