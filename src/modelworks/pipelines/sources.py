"""The code of a project as it is now: ``factory.py``, and what it imports of the project's folder."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from modelworks.core.errors import Invalid
from modelworks.core.plain import to_json

MAIN = "factory.py"
_LIMIT = 1024 * 1024
"""Largest file that is taken for code, bytes."""


def collect(root: Path, main: str) -> dict[str, str]:
    """Path below `root` to text, of ``factory.py`` and of every module of the folder that it leads to.

    Args:
        root: The project's folder.
        main: Text of ``factory.py``, as it was run.
    """
    found = {MAIN: main}
    waiting = [main]
    while waiting:
        for name in imported(waiting.pop()):
            for path in _local(root, name):
                key = path.relative_to(root).as_posix()
                if key not in found and path.stat().st_size <= _LIMIT:
                    found[key] = path.read_text(encoding="utf-8", errors="replace")
                    waiting.append(found[key])
    return found


def _local(root: Path, name: str) -> Iterator[Path]:
    if (root / f"{name}.py").is_file():
        yield root / f"{name}.py"
    if (root / name).is_dir():
        yield from sorted((root / name).rglob("*.py"))


def imported(text: str) -> set[str]:
    """First names of the modules that code imports, wherever in it; none of code that cannot be read."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.split(".")[0])
    return found


def foreign(sources: Mapping[str, str]) -> set[str]:
    """First names of the modules that the code imports and that are not part of it."""
    own = {path.split("/")[0].removesuffix(".py") for path in sources}
    return {name for text in sources.values() for name in imported(text)} - own


def document(sources: Mapping[str, str]) -> bytes:
    """As it is stored."""
    return to_json({"files": dict(sorted(sources.items()))}, indent=True)


def lay_out(files: Mapping[str, str], folder: Path) -> None:
    """Write the code into a folder.

    Raises:
        Invalid: a path leads out of it.
    """
    for name, text in files.items():
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise Invalid(f"the stored code has a file {name[:80]!r}", "it leads out of its folder", "")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
