"""Rows as Arrow IPC, as somebody sends them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import polars as pl

from modelworks.core.errors import Invalid, TooLarge

MEDIA = ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.file")
"""Media types: a stream of record batches, or a file with them. Source: IANA's register."""
_LARGER = 16
"""How much larger rows may be than the message they came in, which may be compressed or name values by numbers."""
_LEAST = 1 << 20


def frame_of(content: bytes) -> pl.DataFrame:
    """The rows of an Arrow IPC stream or file; values that were named by numbers as they are.

    Raises:
        Invalid: it is neither, or is damaged, or holds what no contract takes.
        TooLarge: unpacked it is out of proportion.
    """
    import pyarrow as pa

    try:
        frames, size = [], 0
        for batch in _batches(pa, content):
            batch.validate(full=True)  # a damaged one would read beyond its end
            # A column of nothing has rows without a size.
            size += sum(_size(pa, column) for column in batch.columns) + batch.num_rows // 8
            if size > _LARGER * max(len(content), _LEAST):
                raise TooLarge(
                    f"the rows are more than {_LARGER} times as large as the message they came in",
                    "such messages are not unpacked",
                    "send fewer rows at a time, or without compression",
                )
            plain = [
                _values(pa, column).take(column.indices) if pa.types.is_dictionary(column.type) else column
                for column in batch.columns
            ]
            table = pa.Table.from_arrays(plain, names=batch.schema.names)
            frames.append(cast(pl.DataFrame, pl.from_arrow(table)))
        return pl.concat(frames) if frames else pl.DataFrame()
    except (pa.ArrowException, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise Invalid(
            "the body is no Arrow IPC stream or file",
            str(error).split("\n")[0][:200],
            "write it with an Arrow library",
        ) from error


def _size(pa: Any, column: Any) -> int:
    """Bytes of a column, its values written out."""
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    import pyarrow.compute as pc

    values = _values(pa, column)
    if pa.types.is_large_string(values.type):
        lengths = pc.take(pc.binary_length(values).cast(pa.int64()), column.indices)
        return int(pc.sum(lengths).as_py() or 0) + 8 * len(column)
    return (int(values.nbytes) // max(len(values), 1) + 8) * len(column)


def _values(pa: Any, column: Any) -> Any:
    """The values that a column names by numbers; texts in the one form that can be taken from."""
    values = column.dictionary
    texts = pa.types.is_string(values.type) or pa.types.is_string_view(values.type)
    return values.cast(pa.large_string()) if texts else values


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
