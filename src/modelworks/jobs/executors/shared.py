"""Files that many workers read at once: mapped into memory, never copied, never pickled.

On one machine every worker maps the same file. A worker that does not see the file gets its content from
whoever started it, which on Ray is memory that all workers of a machine share.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

_given: dict[Path, Any] = {}


def give(contents: Mapping[Path, Any]) -> None:
    """Say what files hold that this process does not see; those that were given before are let go.

    Args:
        contents: By path, what has Python's buffer protocol.
    """
    _given.clear()
    _given.update(contents)


def buffer(path: Path) -> pa.Buffer:
    """The content of a file, where it is: nothing is read before it is looked at."""
    if path in _given:
        return pa.py_buffer(_given[path])
    with pa.memory_map(str(path)) as file:
        return file.read_buffer()
