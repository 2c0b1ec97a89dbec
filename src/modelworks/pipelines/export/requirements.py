"""What an image installs: exactly what a version was made with, and no more than answering needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelworks.core.errors import Conflict, ModelworksError
from modelworks.models.package import Package
from modelworks.pipelines.context import Stations
from modelworks.track import lock

_DISTRIBUTIONS = {
    "sklearn": ["scikit-learn"], "lightgbm": ["lightgbm"], "xgboost": ["xgboost-cpu", "xgboost"],
    "pytorch": ["torch"], "spacy": ["spacy"], "river": ["river"], "onnx": [],
}  # fmt: skip
"""What reads the native form of a flavor."""


def needed(stations: Stations, packages: Sequence[Package]) -> tuple[str, list[str]]:
    """The version of Python (``"3.11"``), and the distributions, pinned.

    A compiled version needs what this house itself needs, as it is installed here, where it is served from now. A
    native one needs the library it was made with, in the versions of its own environment.

    Raises:
        Conflict: versions were made with versions of a library that differ.
    """
    here = lock.read(lock.environment([])[1])
    python = str(here["python"])
    pinned: dict[str, str] = {name: _pin(name, one) for name, one in here["packages"].items()}
    native: dict[str, str] = {}
    for package in {one.environment: one for one in packages if one.compiled is None}.values():
        then = _document(stations, package)
        if then is None:
            continue
        python = str(then["python"])
        wanted = _DISTRIBUTIONS.get(package.flavor)
        names = (
            set(then["packages"])
            if wanted is None
            else set(lock.read(lock.environment(wanted)[1])["packages"])
        )
        for name in sorted(names & set(then["packages"])):
            pin = _pin(name, then["packages"][name])
            if native.setdefault(name, pin) != pin:
                raise Conflict(
                    "the versions cannot be served from one image",
                    f"one was made with {native[name]}, another with {pin}",
                    "export one of them by its number, or train anew",
                )
    pinned.update(native)
    pinned.pop(lock.HOUSE, None)
    return ".".join(python.split(".")[:2]), sorted(pinned.values())


def _document(stations: Stations, package: Package) -> dict[str, Any] | None:
    try:
        return lock.read(stations.stores.artifacts.get(package.environment))
    except (ModelworksError, ValueError):  # of a model that came as a file, nothing but a list may be known
        return None


def _pin(name: str, one: dict[str, str]) -> str:
    return f"{name} @ {one['origin']}" if "origin" in one else f"{name}=={one['version']}"
