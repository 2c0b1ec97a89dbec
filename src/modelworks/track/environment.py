"""Where a run comes from: the commit and what was changed since, the packages, the script, the machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from getpass import getuser
from pathlib import Path
from typing import Any

from modelworks.stores.artifacts import Artifacts
from modelworks.track.lock import environment

_PATIENCE = 5.0
"""Seconds after which git, in a very large repository, is not waited for."""
_DIFF_LIMIT = 4 * 1024 * 1024


def source(artifacts: Artifacts) -> dict[str, Any]:
    """Where this process comes from; packages and changes as artifacts, by their digests."""
    script = Path(sys.argv[0]).name if sys.argv and sys.argv[0] not in ("", "-c", "-m") else None
    told: dict[str, Any] = {
        "environment": artifacts.put(environment()[1]),
        "python": platform.python_version(),
        "host": platform.node(),
        "user": _user(),
        "script": script,  # without its arguments: some of them are secrets
    }
    commit = _git("rev-parse", "HEAD")
    if commit:
        told["commit"] = commit.decode().strip()
        told["branch"] = _git("rev-parse", "--abbrev-ref", "HEAD").decode().strip()
        changes = _git("diff", "HEAD")
        told["dirty"] = bool(changes)
        if changes:
            told["diff"] = artifacts.put(changes[:_DIFF_LIMIT])
    return {name: value for name, value in told.items() if value is not None}


def _user() -> str | None:
    try:
        return getuser()
    except (OSError, KeyError):  # a user without a name, in a container
        return None


def _git(*words: str) -> bytes:
    """What git says; nothing where there is no git, no repository or no answer in time."""
    calm = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            ["git", *words],  # noqa: S607 - whichever the user has
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
            env=calm,
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""
