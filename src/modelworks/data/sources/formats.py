"""Files of rows as frames: Parquet, CSV and JSON Lines, told by their ending."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from zipfile import ZipFile

import polars as pl

from modelworks.core.errors import Invalid
from modelworks.core.schema import Field, Kind

_CHUNK = 250_000
"""Rows a frame: bounds the memory of an ingest, whatever the size of a file."""

_NUMBERS = {Kind.NUMBER: pl.Float64(), Kind.INTEGER: pl.Int64()}
_MAGIC = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}
"""How compressed files begin; what begins otherwise would be read as if it were text."""

_ENDINGS = ".parquet, .csv, .csv.gz, .csv.zst, .csv.zip, .jsonl, .ndjson"


def frames(path: Path, expected: Mapping[str, Field]) -> Iterator[pl.DataFrame]:
    """A file's rows, in frames of bounded size.

    CSV as numbers where the contract says so, at a third of the cost, as long as all are.
    """
    done = 0
    if ".csv" in path.suffixes[-2:]:
        columns = scan(path).collect_schema().names()
        numbers = {
            name: _NUMBERS[expected[name].kind]
            for name in columns
            if name in expected and expected[name].kind in _NUMBERS
        }
        with suppress(pl.exceptions.ComputeError):
            for frame in _batches(scan(path, numbers)):
                if any(
                    not (frame[name].is_finite().all())
                    for name, kind in numbers.items()
                    if kind == pl.Float64
                ):
                    break  # "nan" and "inf" are texts that are no numbers: they have to come as they are
                yield frame
                done += len(frame)
            else:
                return
    yield from _batches(scan(path).slice(done))


def _batches(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    return rows.collect_batches(chunk_size=_CHUNK, maintain_order=True)


def scan(path: Path, types: Mapping[str, pl.DataType] | None = None) -> pl.LazyFrame:
    """A file's rows as a lazy frame; of CSV all as text, but for the columns of `types`.

    Raises:
        Invalid: its ending is not known, or does not tell the truth.
    """
    name = path.name.lower()
    # A path is a path here, even with characters that mean something in a pattern.
    if name.endswith(".parquet"):
        return pl.scan_parquet(path, glob=False)
    if name.endswith((".jsonl", ".ndjson")):
        return pl.scan_ndjson(path.read_bytes(), infer_schema_length=None)
    # CSV as text: the contract says what a column is, a guess from the first rows must not.
    if name.endswith((".csv", ".csv.gz", ".csv.zst")):
        magic = _MAGIC.get(path.suffix.lower(), b"")
        with path.open("rb") as file:
            if file.read(len(magic)) != magic:
                raise Invalid(
                    f"{path.name} cannot be read", f"it is no {path.suffix} file", "mend or remove the file"
                )
        return pl.scan_csv(path, infer_schema=False, schema_overrides=types, glob=False)
    if name.endswith(".csv.zip"):
        with ZipFile(path) as archive:
            inside = [entry for entry in archive.namelist() if entry.lower().endswith(".csv")]
            if len(inside) != 1:
                raise Invalid(f"{path.name} holds {len(inside)} CSV files", "", "zip one CSV file at a time")
            return pl.scan_csv(archive.read(inside[0]), infer_schema=False, schema_overrides=types)
    raise Invalid(
        f"{path.name} has no known format", f"known endings: {_ENDINGS}", "narrow the pattern of mw.Files"
    )
