"""Parquet, CSV and JSON Lines files, in a folder or in a bucket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile

import polars as pl
from blake3 import blake3

from modelworks.core.errors import Invalid, Unavailable
from modelworks.core.schema import Field
from modelworks.data.sources import bucket
from modelworks.data.sources.formats import frames, scan
from modelworks.data.sources.port import Part

_BLOCK = 4 * 1024 * 1024


@dataclass(frozen=True)
class Files:
    """Files by a pattern: ``mw.Files("data/flights/*.parquet")``, ``mw.Files("s3://bucket/flights/*.csv")``.

    The ending tells the format: ``.parquet``, ``.csv`` (also ``.csv.gz``, ``.csv.zst`` and ``.csv.zip``),
    ``.jsonl`` or ``.ndjson``. A file is new when its content is: one that was only touched or moved is not
    taken in again, one that changed is, as a whole. Names that begin with ``.`` or ``_`` are passed over, so
    that a file can be written under such a name and renamed when it is complete.

    Attributes:
        pattern: Glob pattern, relative to the project or with ``s3://``, ``gs://``, ``az://``; ``**`` reaches into
            folders.
        options: Of a bucket: ``endpoint``, ``region``, ``access_key_id`` ...; what is not said stands in the
            environment, as ``AWS_ENDPOINT_URL`` or ``AWS_ACCESS_KEY_ID``.

    Raises:
        Invalid: the pattern is empty.
    """

    pattern: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)  # it may hold keys

    def __post_init__(self) -> None:
        if not self.pattern.strip():
            raise Invalid(
                "mw.Files has an empty pattern", "", "write for instance mw.Files('data/*.parquet')"
            )

    @property
    def _remote(self) -> bool:
        return "://" in self.pattern

    def parts(self, root: Path) -> list[Part]:
        """See `Source.parts`; by name."""
        if self._remote:
            return bucket.parts(self.pattern, self.options)
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
        if self._remote:
            return bucket.content(part, self.options)
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
        here: AbstractContextManager[Path] = nullcontext(root / part.uri)
        if self._remote:
            here = bucket.copied(part, self.options)
        try:
            with here as path:
                last = None
                for frame in frames(path, expected or {}):
                    if last is not None:
                        yield last
                    last = frame
                # The last frame (of most files: the only one) goes out when the file is known to be whole.
                if not self._remote and _part(part.uri, path) != part:
                    raise Unavailable(
                        f"{part.uri} changed while it was read", "", "rename files into place when complete"
                    )
                yield scan(path).collect_schema().to_frame() if last is None else last
        except OSError as error:
            raise Unavailable(
                f"{part.uri} is out of reach", str(error)[:300], "it is tried again next time"
            ) from error
        except (pl.exceptions.PolarsError, UnicodeError, BadZipFile) as error:
            why = " ".join(str(error).split())[:300]
            raise Invalid(f"{part.uri} cannot be read", why, "mend or remove the file") from error


def _part(uri: str, path: Path) -> Part:
    """A file, with a fingerprint of its place, size and time of change: what changes when content is written."""
    status = path.stat()
    text = f"{status.st_size}:{status.st_mtime_ns}:{status.st_ino}"
    return Part(uri, sha256(text.encode()).hexdigest(), status.st_size)
