"""Parquet, CSV and JSON Lines files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import polars as pl

from modelworks.core.errors import Invalid
from modelworks.data.sources.port import Part

_CHUNK = 1_000_000
"""Rows a frame: bounds the memory of an ingest, whatever the size of a file."""


@dataclass(frozen=True)
class Files:
    """Files by a pattern relative to the project: ``mw.Files("data/flights/*.parquet")``.

    The ending tells the format: ``.parquet``, ``.csv`` (also ``.csv.gz``, ``.csv.zst``), ``.jsonl`` or ``.ndjson``.
    A file whose size or time of change differs from before is taken in again.

    Attributes:
        pattern: Glob pattern; ``**`` reaches into folders.
    """

    pattern: str

    def parts(self, root: Path) -> list[Part]:
        """See `Source.parts`; by name."""
        place = Path(self.pattern)
        found = Path(place.anchor).glob(str(place.relative_to(place.anchor))) if place.is_absolute() else root.glob(self.pattern)
        return [
            Part(_uri(root, path), _fingerprint(path))
            for path in sorted(found)
            if path.is_file() and not path.name.startswith((".", "_"))
        ]

    def read(self, root: Path, part: Part) -> Iterator[pl.DataFrame]:
        """See `Source.read`."""
        path = root / part.uri
        try:
            lazy = _scan(path)
            total = lazy.select(pl.len()).collect().item()
            for offset in range(0, max(total, 1), _CHUNK):
                yield lazy.slice(offset, _CHUNK).collect() if total > _CHUNK else lazy.collect()
        except (pl.exceptions.PolarsError, OSError, UnicodeError) as error:
            raise Invalid(f"{part.uri} cannot be read", " ".join(str(error).split())[:300], "mend or remove the file") from error


def _scan(path: Path) -> pl.LazyFrame:
    endings = "".join(path.suffixes).lower()
    if endings.endswith(".parquet"):
        return pl.scan_parquet(path)
    if endings.endswith((".jsonl", ".ndjson")):
        return pl.scan_ndjson(path, infer_schema_length=10_000)
    if endings.endswith((".csv", ".csv.gz", ".csv.zst")):
        # As text: the contract says what a column is, a guess from the first rows must not.
        return pl.scan_csv(path, infer_schema=False)
    raise Invalid(f"{path.name} has no known format", "known endings: .parquet, .csv, .jsonl", "narrow the pattern of mw.Files")


def _uri(root: Path, path: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _fingerprint(path: Path) -> str:
    status = path.stat()
    return sha256(f"{status.st_size}:{status.st_mtime_ns}".encode()).hexdigest()
