"""What `doctor` looks at."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from modelworks.core.errors import ModelworksError, Unavailable

_PACKAGES = ("deltalake", "onnxruntime", "scikit-learn", "skl2onnx", "sqlalchemy")


def checkup(folder: Path) -> list[dict[str, Any]]:
    """Each finding: what was looked at, whether it is well, what was found, how to mend it."""
    from modelworks.factory import Factory

    findings = [_look("Python", lambda: sys.version.split()[0])]
    findings += [_look(package, partial(version, package)) for package in _PACKAGES]
    opened: list[Factory] = []

    def open_project() -> str:
        opened.append(Factory(folder))
        return str(opened[0].config.root)

    findings.append(_look("project", open_project))
    if not opened:
        return findings
    with opened[0] as factory:
        settings = factory.config.settings
        changed = [
            f"{name} from {source}" for name, source in factory.config.sources.items() if source != "default"
        ]
        findings += [
            _look("settings", lambda: ", ".join(changed) or "all at their defaults"),
            _look(
                "factory.py",
                lambda: f"{len(factory.project.datasets)} datasets, {len(factory.project.models)} models",
            ),
            _look("stores", lambda: _stores(factory)),
            _look("ledger", lambda: _ledger(factory)),
            _look("disk", lambda: _disk(factory.config.root)),
            _look(f"port {settings.server_port}", lambda: _port(settings.server_host, settings.server_port)),
        ]
    return findings


def _look(what: str, find: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"what": what, "ok": True, "found": find(), "fix": ""}
    except ModelworksError as error:
        return {
            "what": what,
            "ok": False,
            "found": "; ".join(filter(None, (error.what, error.why))),
            "fix": error.fix,
        }
    except Exception as error:
        return {"what": what, "ok": False, "found": f"{type(error).__name__}: {error}", "fix": ""}


def _stores(factory: Any) -> str:
    digest = factory.stores.artifacts.put(b"modelworks doctor")
    factory.stores.artifacts.get(digest)
    with factory.stores.ledger.write():
        pass
    return f"ledger, tables and artifacts in {factory.config.state} open and writable"


def _ledger(factory: Any) -> str:
    ledger = factory.stores.ledger
    copies = "".join(f"; as it was before the last upgrade: {path}" for path in ledger.copies)
    return f"{ledger.engine.dialect.name}, at revision {ledger.revision()}, the newest{copies}"


def _disk(root: Path) -> str:
    free = shutil.disk_usage(root).free
    if free < 1 << 30:
        raise Unavailable(
            f"{free >> 20} MiB are free", "tables and artifacts need room", "free at least 1 GiB"
        )
    return f"{free >> 30} GiB free"


def _port(host: str, port: int) -> str:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Unavailable(
                f"it is taken: {error.strerror}", "", "stop what uses it, or set server.port"
            ) from error
    return "free"
