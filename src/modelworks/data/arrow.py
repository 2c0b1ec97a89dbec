"""Rows as Arrow IPC, as somebody sends them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import polars as pl

from modelworks.core.errors import Invalid, TooLarge

MEDIA = ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.file")
"""Media types: a stream of record batches, or a file with them. Source: IANA's register."""
_LARGER = 16
"""How much larger rows may be than the message they came in, which may be compressed."""


def frame_of(content: bytes) -> pl.DataFrame:
    """The rows of an Arrow IPC stream or file.

    Raises:
        Invalid: it is neither, or is damaged.
        TooLarge: unpacked it is out of proportion.
    """
    import pyarrow as pa

    try:
        batches, size = [], 0
        for batch in _batches(pa, content):
            batch.validate(full=True)  # a damaged one would read beyond its end
            size += batch.nbytes
            if size > _LARGER * max(len(content), 1 << 20):
                raise TooLarge(
                    f"the rows are more than {_LARGER} times as large as the message they came in",
                    "such messages are not unpacked",
                    "send fewer rows at a time, or without compression",
                )
            batches.append(batch)
        if not batches:
            return pl.DataFrame()
        return cast(pl.DataFrame, pl.from_arrow(pa.Table.from_batches(batches)))
    except (pa.ArrowException, OSError, pl.exceptions.PolarsError) as error:
        raise Invalid(
            "the body is no Arrow IPC stream or file",
            str(error).split("\n")[0][:200],
            "write it with an Arrow library",
        ) from error


def _batches(pa: Any, content: bytes) -> Iterator[Any]:
    buffer = pa.py_buffer(content)
    if content.startswith(b"ARROW1"):
        file = pa.ipc.open_file(buffer)
        yield from (file.get_batch(number) for number in range(file.num_record_batches))
    else:
        yield from pa.ipc.open_stream(buffer)


def to_arrow(frame: pl.DataFrame) -> bytes:
    """Rows as an Arrow IPC stream."""
    return frame.write_ipc_stream(None, compression="lz4").getvalue()
