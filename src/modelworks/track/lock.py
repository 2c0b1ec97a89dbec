"""The environment of a training: an exact lock of what it needs, one document however many models it makes."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import sysconfig
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from hashlib import sha256
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from modelworks import __version__
from modelworks.core.plain import to_json
from modelworks.jobs.executors.worker import THREADS

HOUSE = "modelworks"
_OURS = Path(__file__).parents[1]
"""Folder of this package."""


def environment(needed: Collection[str] | None = None) -> tuple[str, bytes]:
    """What is installed here, or what some distributions need of it, exactly.

    The document has ``python``, ``implementation``, ``platform``, ``libc``, ``processor`` (for which linear algebra
    chooses its code), ``threads`` (of a worker), and ``packages``: of each its ``version``, and of those
    that were asked for the digest of its ``files`` where the installer noted theirs, and its ``origin`` where it
    came from no registry.

    Args:
        needed: Names of distributions; with all that these require, and what this package does. Everything that is
            installed by default.

    Returns:
        Digest (SHA-256) and content of the document.
    """
    return _document(None if needed is None else frozenset(map(normal, needed)))


@cache
def _document(needed: frozenset[str] | None) -> tuple[str, bytes]:
    there = _installed()
    names = set(there) if needed is None else closure({*needed, HOUSE}, there)
    told = {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": sysconfig.get_platform(),
        "libc": "-".join(platform.libc_ver()),
        "processor": platform.machine() if needed is None else _processor(),
        "threads": THREADS,
        "packages": {
            # This package is told by its code: it may run from a folder that nobody installed.
            HOUSE: {"version": __version__, "files": _ours()},
            **{name: _package(there[name], needed is not None) for name in sorted(names - {HOUSE})},
        },
    }
    content = to_json(told, indent=True)
    return sha256(content).hexdigest(), content


def closure(names: Iterable[str], there: Mapping[str, Distribution]) -> set[str]:
    """Distributions and all that they require, so far as it is installed; what an extra asks for is left out."""
    found: set[str] = set()
    waiting = [name for name in names if name in there]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for requirement in there[name].requires or ():
            other = _asked_for(requirement)
            if other in there:
                waiting.append(other)
    return found


@cache
def _asked_for(requirement: str) -> str:
    """The distribution that a requirement names; ``""`` where it is for an extra, or for another kind of machine."""
    try:
        told = Requirement(requirement)
    except InvalidRequirement:
        return ""
    wanted = told.marker is None or told.marker.evaluate({"extra": ""})
    return normal(told.name) if wanted else ""


def distributed(modules: Iterable[str]) -> tuple[set[str], set[str]]:
    """The distributions that modules (their first names) come from; and those that come from none."""
    homes = {name: _home(name) for name in set(modules) - sys.stdlib_module_names - {HOUSE, "__main__"}}
    return {home for home in homes.values() if home}, {name for name, home in homes.items() if not home}


def normal(name: str) -> str:
    """A distribution's name in its one spelling. Source: PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def _installed() -> dict[str, Distribution]:
    """Distributions by name; read from the names of their folders, for most of them nobody asks more."""
    found: dict[str, Distribution] = {}
    for entry in dict.fromkeys(sys.path):
        if entry and not os.path.isdir(entry):
            continue
        for file in os.scandir(entry or "."):
            if file.name.endswith(".dist-info"):
                # The first on the import path is the one that is imported.
                found.setdefault(normal(file.name.split("-")[0]), Distribution.at(file.path))
    return found


def _version(one: Distribution) -> str:
    return str(getattr(one, "_path", Path()).name.removesuffix(".dist-info").partition("-")[2]) or one.version


@cache
def _home(module: str) -> str:
    """The distribution that a module comes from; ``""`` where it comes from none."""
    there = _installed()
    if normal(module) in there and _holds(there[normal(module)], module):
        return normal(module)
    return next((name for name, one in there.items() if _holds(one, module)), "")


def _holds(one: Distribution, module: str) -> bool:
    """Whether a distribution brought a module, by the list of its files."""
    files = one.read_text("RECORD") or ""
    return any(files.startswith(f"{module}{end}") or f"\n{module}{end}" in files for end in ("/", ".py", "."))


def _package(one: Distribution, whole: bool) -> dict[str, str]:
    told = {"version": _version(one)}
    if not whole:
        return told
    files = _files(one)
    if files:
        told["files"] = files
    try:
        direct = json.loads(one.read_text("direct_url.json") or "{}")
    except ValueError:
        direct = {}
    if direct.get("url"):
        commit = direct.get("vcs_info", {})
        at = f"@{commit['commit_id']}" if commit.get("commit_id") else ""
        told["origin"] = f"{commit['vcs']}+" * bool(at) + direct["url"] + at
    return told


def _files(one: Distribution) -> str:
    """Digest of the digests of its files that its installer noted, which two installations of it have in common."""
    lines = []
    for line in (one.read_text("RECORD") or "").splitlines():
        path, _, rest = line.rpartition(",")[0].rpartition(",")
        path = path.strip('"')
        if (
            rest
            and ".dist-info/" not in path
            and not path.startswith((".", "/"))
            and "__pycache__" not in path
        ):
            lines.append(f"{path} {rest}")
    return sha256("\n".join(sorted(lines)).encode()).hexdigest() if lines else ""


def _ours() -> str:
    """Digest of this package's own code."""
    whole = sha256()
    for path in sorted(_OURS.rglob("*.py")):
        whole.update(f"{path.relative_to(_OURS)} {sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def _processor() -> str:
    """The kind of processor that NumPy's linear algebra takes this one for: its sums are in another order on others."""
    import numpy as np
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

    assert np is not None  # it has brought its library along
    kinds = {one.get("architecture") for one in threadpool_info() if "numpy" in one.get("filepath", "")}
    return "-".join([platform.machine(), *sorted(kind for kind in kinds if kind)])


def read(content: bytes) -> dict[str, Any]:
    """An environment's document."""
    told: dict[str, Any] = json.loads(content)
    return told


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what an environment is another one than it was, a line each; nothing where it is not known."""
    if not now:
        return []
    told = [
        f"{name} was {then[name]}, is {now[name]}"
        for name in ("python", "implementation", "platform", "libc", "processor")
        if then.get(name) != now.get(name)
    ]
    if then["threads"] != now["threads"]:
        told.append("workers had other numbers of threads")
    for name, one in then["packages"].items():
        other = now["packages"].get(name)
        if other is None:
            told.append(f"{name} {one['version']} is not there")
        elif other["version"] != one["version"]:
            told.append(f"{name} was {one['version']}, is {other['version']}")
        elif "files" in one and "files" in other and other["files"] != one["files"]:
            told.append(f"{name} {one['version']} has other files")
    return told


def other_versions(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether an environment had another Python, or other versions of what it had; this package aside."""
    mine = {name: one["version"] for name, one in then["packages"].items() if name != HOUSE}
    return bool(
        then["python"] != now["python"]
        or any(now["packages"].get(name, {}).get("version") != version for name, version in mine.items())
    )


def requirements(document: Mapping[str, Any]) -> list[str]:
    """What an installer is asked for, to make an environment again; this package aside."""
    return [
        f"{name} @ {one['origin']}" if "origin" in one else f"{name}=={one['version']}"
        for name, one in document["packages"].items()
        if name != HOUSE
    ]
