"""The folder in which a demo builds its project."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

from modelworks.core.errors import Conflict

_MARK = ".made-by-modelworks-demo"


def make(folder: Path, project: str, settings: str = "") -> None:
    """A fresh project; only what an earlier demo made is removed.

    Args:
        folder: Where.
        project: The package whose files a user would write.
        settings: Content of ``modelworks.toml``.

    Raises:
        Conflict: the folder holds something else.
    """
    if folder.exists():
        if any(folder.iterdir()) and not (folder / _MARK).exists():
            raise Conflict(
                f"{folder} holds something that is not this demo",
                "it is not removed",
                "name another with --folder",
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / _MARK).touch()
    for one in files(project).iterdir():
        if one.is_file() and not one.name.startswith("__"):
            (folder / one.name).write_text(one.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "modelworks.toml").write_text(settings)
