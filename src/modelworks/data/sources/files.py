"""Parquet, CSV and JSON Lines files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import polars as pl
from blake3 import blake3

from modelworks.core.errors import Invalid, Unavailable
from modelworks.core.schema import Field, Kind
from modelworks.data.sources.port import Part

_BLOCK = 4 * 1024 * 1024
_CHUNK = 250_000
"""Rows a frame: bounds the memory of an ingest, whatever the size of a file."""

_NUMBERS = {Kind.NUMBER: pl.Float64(), Kind.INTEGER: pl.Int64()}
_MAGIC = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}
"""How compressed files begin; what begins otherwise would be read as if it were text."""

_ENDINGS = ".parquet, .csv, .csv.gz, .csv.zst, .csv.zip, .jsonl, .ndjson"


@dataclass(frozen=True)
class Files:
    """Files by a pattern relative to the project: ``mw.Files("data/flights/*.parquet")``.

    The ending tells the format: ``.parquet``, ``.csv`` (also ``.csv.gz``, ``.csv.zst`` and ``.csv.zip``),
    ``.jsonl`` or ``.ndjson``. A file is new when its content is: one that was only touched or moved is not
    taken in again, one that changed is, as a whole. Names that begin with ``.`` or ``_`` are passed over, so
    that a file can be written under such a name and renamed when it is complete.

    Attributes:
        pattern: Glob pattern; ``**`` reaches into folders.

    Raises:
        Invalid: the pattern is empty.
    """

    pattern: str

    def __post_init__(self) -> None:
        if not self.pattern.strip():
            raise Invalid(
                "mw.Files has an empty pattern", "", "write for instance mw.Files('data/*.parquet')"
            )

    def parts(self, root: Path) -> list[Part]:
        """See `Source.parts`; by name."""
        place = Path(self.pattern)
        if place.is_absolute():
            found = Path(place.anchor).glob(str(place.relative_to(place.anchor)))
        else:
            found = root.glob(self.pattern)
        parts = []
        for path in sorted(found):
            if path.is_file() and not path.name.startswith((".", "_")):
                uri = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
                parts.append(_part(uri, path))
        return parts

    def content(self, root: Path, part: Part) -> str:
        """See `Source.content`."""
        try:
            digest, chunk = blake3(max_threads=blake3.AUTO), bytearray(_BLOCK)
            # Not through a map of the file into memory: one that is cut short meanwhile would end the process.
            with (root / part.uri).open("rb", buffering=0) as file:
                while read := file.readinto(chunk):
                    digest.update(memoryview(chunk)[:read])
            return digest.hexdigest()
        except OSError:
            return ""

    def read(
        self, root: Path, part: Part, expected: Mapping[str, Field] | None = None
    ) -> Iterator[pl.DataFrame]:
        """See `Source.read`."""
        path = root / part.uri
        try:
            last = None
            for frame in _frames(path, expected or {}):
                if last is not None:
                    yield last
                last = frame
            # The last frame (of most files: the only one) goes out when the file is known to be whole.
            if _part(part.uri, path) != part:
                raise Unavailable(
                    f"{part.uri} changed while it was read", "", "rename files into place when complete"
                )
            yield _scan(path).collect_schema().to_frame() if last is None else last
        except OSError as error:
            raise Unavailable(
                f"{part.uri} is out of reach", str(error)[:300], "it is tried again next time"
            ) from error
        except (pl.exceptions.PolarsError, UnicodeError, BadZipFile) as error:
            why = " ".join(str(error).split())[:300]
            raise Invalid(f"{part.uri} cannot be read", why, "mend or remove the file") from error


def _frames(path: Path, expected: Mapping[str, Field]) -> Iterator[pl.DataFrame]:
    """A file's rows. CSV as numbers where the contract says so, at a third of the cost, as long as all are."""
    done = 0
    if ".csv" in path.suffixes[-2:]:
        columns = _scan(path).collect_schema().names()
        numbers = {
            name: _NUMBERS[expected[name].kind]
            for name in columns
            if name in expected and expected[name].kind in _NUMBERS
        }
        with suppress(pl.exceptions.ComputeError):
            for frame in _batches(_scan(path, numbers)):
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
    yield from _batches(_scan(path).slice(done))


def _batches(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    return rows.collect_batches(chunk_size=_CHUNK, maintain_order=True)


def _scan(path: Path, types: Mapping[str, pl.DataType] | None = None) -> pl.LazyFrame:
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


def _part(uri: str, path: Path) -> Part:
    """A file, with a fingerprint of its place, size and time of change: what changes when content is written."""
    status = path.stat()
    text = f"{status.st_size}:{status.st_mtime_ns}:{status.st_ino}"
    return Part(uri, sha256(text.encode()).hexdigest(), status.st_size)
