"""Deleting blobs that nothing refers to, beside those who write and read.

A blob that is old and not referred to may be stored once more while it is being deleted; `LocalArtifacts.put` then
makes it young. So a blob is put aside first, in one step, and looked at again: if it has become young it goes back.
Either the writer found it in its place and it goes back, or the writer found none and wrote it anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

_ASIDE = ".gone-"


@dataclass(frozen=True)
class Swept:
    """What a sweep did, or would do.

    Attributes:
        blobs: Blobs that nothing referred to.
        parts: Halves of blobs that killed writers left.
        bytes: Of both.
        kept: Blobs that something refers to.
        young: Blobs, and halves, that are too young to judge.
    """

    blobs: int = 0
    parts: int = 0
    bytes: int = 0
    kept: int = 0
    young: int = 0


def sweep(root: Path, kept: Callable[[str], bool], before: float, dry_run: bool) -> Swept:
    """Delete blobs that are not `kept` and were last stored before a moment, seconds since 1970."""
    told = Swept()
    for folder, entry in _files(root):
        try:
            status = entry.stat()
        except FileNotFoundError:
            continue
        name = entry.name.removeprefix(_ASIDE)
        if entry.name.startswith(_ASIDE) and kept(
            folder.name + name
        ):  # a sweep was killed before it put it back
            with suppress(OSError):
                os.rename(entry.path, folder / name)
            told = replace(told, kept=told.kept + 1)
        elif status.st_mtime >= before:
            told = replace(told, young=told.young + 1)
        elif not name.startswith(".") and kept(folder.name + name):
            told = replace(told, kept=told.kept + 1)
        elif dry_run or _remove(Path(entry.path), before):
            part = entry.name.startswith(".")
            told = replace(
                told,
                blobs=told.blobs + (not part),
                parts=told.parts + part,
                bytes=told.bytes + status.st_size,
            )
    return told


def _files(root: Path) -> Iterator[tuple[Path, os.DirEntry[str]]]:
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if folder.is_dir() and len(folder.name) == 2:
            for entry in list(os.scandir(folder)):
                yield folder, entry


def _remove(path: Path, before: float) -> bool:
    """Delete a file; whether it was still old when nobody could find it any more."""
    aside = path.with_name(f"{_ASIDE}{path.name.removeprefix(_ASIDE)}")
    with suppress(FileNotFoundError):
        os.rename(path, aside)
        if aside.stat().st_mtime < before:
            aside.unlink()
            return True
        os.rename(aside, path)
    return False
