"""Counts as bytes, as narrow as they are small."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def pack(cells: Ints) -> list[bytes]:
    """Each row of counts as bytes: the width of a cell in the first byte, then the cells, little-endian.

    Args:
        cells: Counts, shape (rows, cells).
    """
    if not cells.size:
        return [b"\x01"] * len(cells)
    packed = [b""] * len(cells)
    largest = cells.max(axis=1)
    for width in (1, 2, 4, 8):
        fits = np.flatnonzero((largest < 1 << 8 * width) & (largest >= (1 << 4 * width if width > 1 else 0)))
        if not len(fits):
            continue
        content, size = cells[fits].astype(f"<u{width}").tobytes(), cells.shape[1] * width
        for place, row in enumerate(fits.tolist()):
            packed[row] = bytes([width]) + content[place * size : (place + 1) * size]
    return packed


def unpack(packed: Sequence[bytes], size: int) -> npt.NDArray[Any]:
    """The inverse of `pack`.

    Args:
        packed: Rows of counts.
        size: Number of cells of each.

    Returns:
        Unsigned integers as wide as the widest row needs, shape (rows, size); sum them as int64.

    Raises:
        ValueError: a row does not have that many cells.
    """
    widths = {content[:1] for content in packed}
    if not widths <= {b"\x01", b"\x02", b"\x04", b"\x08"} or any(
        len(content) != 1 + size * content[0] for content in packed
    ):
        raise ValueError(f"counts are not {size} cells")
    if widths == {b"\x01"}:  # nearly always: a day of one segment
        bytewise = np.frombuffer(b"".join(packed), np.uint8).reshape(len(packed), 1 + size)
        return bytewise[:, 1:]
    cells = np.zeros((len(packed), size), f"u{max((content[0] for content in packed), default=1)}")
    for row, content in enumerate(packed):
        cells[row] = np.frombuffer(content, f"<u{content[0]}", offset=1)
    return cells
