"""The prediction log: from the spool into the table ``predictions``, each row once."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from math import isnan
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from msgspec import UNSET, Raw, Struct

from modelworks.core.clock import utc
from modelworks.models.predictor import watched
from modelworks.serving import forms, outcomes
from modelworks.serving.about import Origin
from modelworks.serving.arms import Note
from modelworks.serving.spool import OUTCOMES, PREDICTIONS, ROWS, Block, Entry, SpoolFile, files
from modelworks.serving.tensors import rows_of
from modelworks.stores import Stores
from modelworks.stores.tables import Tables

_log = logging.getLogger("modelworks.serving")

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.String,
    "time": pl.Datetime("us", "UTC"),
    "event_time": pl.Datetime("us", "UTC"),
    "model": pl.String,
    "segment": pl.String,
    "version": pl.Int64,
    "key": pl.String,
    "inputs": pl.String,
    "output": pl.Float64,
    "outputs": pl.String,
    "arm": pl.String,
    "rollout": pl.String,
    "seconds": pl.Float64,
    "failure": pl.String,
    "shadow_of": pl.String,
    "flags": pl.String,
    "caller": pl.String,
    "request": pl.String,
    "trace": pl.String,
    "latency": pl.Float64,
}
"""Columns of the table ``predictions``; see `serving.arms.Note` for those of rows that are divided.

``shadow_of`` is the id of the champion's answer that a challenger's silent one stands beside; ``flags`` what the input
guard had to say, as JSON. ``caller`` is the name of the token that asked; ``request`` the ``X-Request-Id`` that came,
``trace`` the trace of the ``traceparent`` that came. ``latency`` are the seconds from the request read until it was
logged, of a silent answer those that it took by itself.
"""

_DIGITS = tuple(b"%c" % character for character in b"-0123456789")
_BATCH_BYTES = 64 * 1024 * 1024
_COMPACT_EVERY = 100


class _Prediction(Struct, gc=False):
    id: str
    version: int
    segment: str
    output: Raw
    flags: Raw = Raw(b"")


class _Answer(Struct, gc=False):
    """What was answered; of some `rows` of the request alone, silently beside the answer `of`, where that is so."""

    model: str
    predictions: list[_Prediction]
    arms: list[Note] | None = None
    rows: list[int] | None = None
    of: str = ""


_ANSWER = msgspec.json.Decoder(_Answer)
_USUAL = Note("champion")
_ORIGIN = msgspec.json.Decoder(Origin)
_NOWHERE = Origin()
_Logged = tuple[str, str | None, int | None]
"""The row as JSON, its key, its time in microseconds."""


@dataclass(frozen=True)
class _Reader:
    """Reads logged requests again, by the schema that was logged with them."""

    columns: tuple[str, ...]
    key: str | None
    time: str | None
    matrix: tuple[str, ...]
    rows: Callable[[bytes], Any]

    def read(self, entry: Entry) -> Iterator[_Logged]:
        if entry.kind != ROWS:
            yield from self._tensors(forms.from_log(entry.kind, entry.request))
            return
        key, time = self._attribute(self.key), self._attribute(self.time)
        for row in self.rows(entry.request).rows:
            found = getattr(row, key) if key else None
            moment = getattr(row, time) if time else None
            yield msgspec.json.encode(row).decode(), _key(found), _microseconds(moment)

    def _attribute(self, column: str | None) -> str | None:
        return None if column is None else f"c{self.columns.index(column)}"

    def _tensors(self, request: forms.InferRequest) -> Iterator[_Logged]:
        for row in rows_of(request.inputs, self.matrix):
            key = row.get(self.key) if self.key else None
            time = row.get(self.time) if self.time else None
            yield msgspec.json.encode(row).decode(), _key(key), _microseconds(time)


@lru_cache(maxsize=1024)
def _reader(schema: bytes) -> _Reader:
    stored = msgspec.json.decode(schema)
    columns = tuple(stored["columns"])
    struct = msgspec.defstruct(
        "Row",
        [(f"c{number}", Any, UNSET) for number in range(len(columns))],
        rename={f"c{number}": name for number, name in enumerate(columns)},
        omit_defaults=True,
        gc=False,
    )
    request = msgspec.defstruct("Request", [("rows", list[struct])])  # type: ignore[valid-type]
    decode = msgspec.json.Decoder(request).decode
    return _Reader(columns, stored["key"], stored["time"], tuple(stored.get("matrix", ())), decode)


def table(entries: Iterable[Entry]) -> pl.DataFrame:
    """Logged requests as rows of the table ``predictions``."""
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA}
    ids, times, events, models, segments, versions, keys, inputs, scores, texts, *more = columns.values()
    arms, rollouts, seconds, failures, beside, flags, callers, requests, traces, latencies = more
    for entry in entries:
        answer = _ANSWER.decode(entry.answer)
        logged: Iterable[_Logged] = _reader(entry.schema).read(entry)
        if answer.rows is not None:
            every = list(logged)
            logged = [every[place] for place in answer.rows]
            beside += [f"{answer.of}-{place}" for place in answer.rows]
        else:
            beside += [None] * len(answer.predictions)
        size = len(answer.predictions)
        came = _ORIGIN.decode(entry.origin) if entry.origin else _NOWHERE
        callers += [came.caller or None] * size
        requests += [came.request or None] * size
        traces += [came.trace or None] * size
        latencies += [None if isnan(entry.latency) else entry.latency] * size
        for note in answer.arms or [_USUAL] * len(answer.predictions):
            arms.append(note.arm)
            rollouts.append(note.rollout)
            seconds.append(note.seconds)
            failures.append(note.failure)
        for (row, key, event), one in zip(logged, answer.predictions, strict=True):
            output = bytes(one.output)
            ids.append(one.id)
            times.append(entry.time)
            events.append(entry.time if event is None else event)
            models.append(answer.model)
            segments.append(one.segment)
            versions.append(one.version)
            keys.append(key)
            inputs.append(row)
            scores.append(_score(output))
            texts.append(output.decode())
            flags.append(bytes(one.flags).decode() or None)
    return pl.DataFrame(columns, schema=SCHEMA)


def _score(output: bytes) -> float | None:
    """The main score: the number that was answered, or the largest of several probabilities; else see `watched`.

    ``None`` where nothing was answered.
    """
    if output == b"null":
        return None
    if output[:1] in _DIGITS:
        return float(output)
    answer = msgspec.json.decode(output)
    if isinstance(answer, dict) and isinstance(answer.get("probabilities"), dict):
        return float(max(answer["probabilities"].values()))
    return watched(answer)


def _key(value: Any) -> str | None:
    return None if value is None or value is UNSET else str(value)


def _microseconds(value: Any) -> int | None:
    if not isinstance(value, str):
        return None
    return round(utc(msgspec.convert(value, datetime)).timestamp() * 1_000_000)


def drain(stores: Stores, sync: bool = False) -> int:
    """Move what is in the spool into the tables ``predictions`` and ``outcomes``; returns the number of rows.

    A batch and the place in the spool that it reaches to are one Delta transaction, so that a drain which is
    killed at any moment and run again adds every row once. Files whose writer is gone are removed when
    everything in them is in the table.

    Args:
        stores: Where they are.
        sync: Whether the tables are on the disk before a file is removed: for tables in a folder of this machine.
    """
    with alone(stores.spool):
        return _drain(stores, PREDICTIONS, table, sync) + _drain(stores, OUTCOMES, outcomes.table, sync)


def _drain(stores: Stores, name: str, rows_of: Callable[[Iterable[Entry]], pl.DataFrame], sync: bool) -> int:
    paths = files(stores.spool, name)
    done = stores.tables.transactions(name, [path.name for path in paths])
    total = 0
    for path in paths:
        with SpoolFile(path) as file:
            # Before reading: what a living writer adds meanwhile waits for the next drain.
            finished = file.finished()
            at = done.get(path.name, 0)
            for batch in _batches(file.blocks(at)):
                rows = rows_of(entry for block in batch for entry in block.entries)
                at = batch[-1].end
                if rows.height:
                    commit = stores.tables.append(name, rows, (path.name, at))
                    total += rows.height
                    if commit.version and commit.version % _COMPACT_EVERY == 0:
                        compact(stores, name)
            if finished:
                if sync:
                    os.sync()
                _remove(file, at)
    return total


def logged(tables: Tables) -> pl.LazyFrame:
    """The table ``predictions``; columns that it has not got yet are null."""
    rows = tables.scan(PREDICTIONS)
    there = rows.collect_schema()
    return rows.with_columns(
        pl.lit(None, kind).alias(name) for name, kind in SCHEMA.items() if name not in there
    ).select(list(SCHEMA))


def compact(stores: Stores, name: str) -> None:
    """Pack small files, ordered by id, and delete those that they were made from a day ago."""
    packing = stores.tables.pack(name, ("id", "prediction_id"))
    if packing is not None and stores.tables.swap(name, packing):
        stores.tables.vacuum(name, [], 24)


def _batches(blocks: Iterator[Block]) -> Iterator[list[Block]]:
    batch: list[Block] = []
    for block in blocks:
        batch.append(block)
        if block.end - batch[0].start > _BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def _remove(file: SpoolFile, end: int) -> None:
    """Remove a finished file; one with a damaged block is kept under another name for a person to look at."""
    if file.torn(end) == "damage":
        kept = file.path.with_suffix(file.path.suffix + ".damaged")
        file.path.rename(kept)
        _log.error("%s has a damaged block at byte %d; what follows it is not in the table", kept, end)
    else:
        file.path.unlink()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One at a time changes the tables: two drains would cut the same file into different batches."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "drain.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
