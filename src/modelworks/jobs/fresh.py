"""Environments of their own: one for each lock, made by uv from its cache, and kept."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from modelworks.core.errors import NotReady, Unavailable

_READY = "ready"
_PATIENCE = 1800.0
"""Seconds after which an installation is given up."""


def python(folder: Path, version: str, requirements: Sequence[str], house: Path) -> Path:
    """The interpreter of an environment that has exactly these distributions, and this package.

    It is made where there is none yet of the same lock; it is complete, or it is made again.

    Args:
        folder: Where environments are kept.
        version: Of Python, exactly.
        requirements: Each pinned, and all that they need among them.
        house: Folder of this package.

    Raises:
        NotReady: uv is not installed, or the interpreter or a distribution cannot be had.
    """
    place = _place(folder, version, requirements)
    lock, exe = place.name, place / "bin" / "python"
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / f"{lock}.lock"):
        if not (place / _READY).exists():
            shutil.rmtree(place, ignore_errors=True)
            _make(place, exe, version, requirements)
            (place / _READY).touch()
        # By name alone, so that nothing else of the place where this package is comes along.
        link = place / "house" / "modelworks"
        if not link.is_symlink() or link.resolve() != house.resolve():
            link.parent.mkdir(exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(house, target_is_directory=True)
    return exe


def made(folder: Path, version: str, requirements: Sequence[str]) -> Path | None:
    """The interpreter that `python` would give, where it is made already."""
    place = _place(folder, version, requirements)
    return place / "bin" / "python" if (place / _READY).exists() else None


def _place(folder: Path, version: str, requirements: Sequence[str]) -> Path:
    return folder / sha256("\n".join([version, *sorted(requirements)]).encode()).hexdigest()[:16]


def house(exe: Path) -> Path:
    """What to put on the import path of an environment's interpreter, so that it finds this package."""
    return exe.parents[1] / "house"


def _make(place: Path, exe: Path, version: str, requirements: Sequence[str]) -> None:
    uv = _uv()
    here = (
        getattr(sys, "_base_executable", sys.executable) if platform.python_version() == version else version
    )
    wanted = place.with_suffix(".txt")
    wanted.write_text("\n".join([*sorted(requirements), ""]))
    _run([uv, "venv", "--quiet", "--python", here, str(place)], f"there is no Python {version}")
    _run(
        [uv, "pip", "install", "--quiet", "--no-deps", "--python", str(exe), "-r", str(wanted)],
        "a distribution of the lock cannot be had",
    )


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if not found:
        raise NotReady(
            "an environment of its own cannot be made",
            "uv is not installed",
            "pip install 'modelworks[reproduce]', or use the current environment with --here",
        )
    return found


def _run(command: Sequence[str], says: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_PATIENCE, env=_calm()
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(
            "an environment could not be made in time", str(error)[:200], "try again"
        ) from error
    if done.returncode:
        raise NotReady(
            says,
            " ".join(done.stderr.split())[-600:],
            "name the place it comes from in uv's settings (UV_INDEX, UV_FIND_LINKS), or use --here",
        )


def _calm() -> dict[str, str]:
    """The surroundings, without what belongs to the current environment alone."""
    left_out = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    return {name: value for name, value in os.environ.items() if name not in left_out}


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
