"""Metrics of several processes: each tells its own over a socket, whichever is asked tells those of all."""

from __future__ import annotations

import logging
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_log = logging.getLogger("modelworks.serving")
_DEADLINE = 2.0
"""Seconds that the others have to tell theirs."""
_LENGTH = struct.Struct(">Q")
_LABELLED = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)\{", re.MULTILINE)
_PLAIN = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*) ", re.MULTILINE)


class Gathered:
    """Tells what all processes of a group have counted.

    A process is named by its id: one that is started in the place of another begins series of its own, so that no
    counter goes back. The sockets are files ``GROUP-PROCESS.sock`` that only their owner may use.

    Args:
        own: The text of this process.
        folder: Where the sockets are.
        group: Name that the processes have in common.
    """

    def __init__(self, own: Callable[[], str], folder: Path, group: str) -> None:
        self._own = own
        self._folder = folder
        self._group = group
        self._name = f"{group}-{os.getpid()}.sock"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def __enter__(self) -> Gathered:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / self._name
        path.unlink(missing_ok=True)  # of a process that had this id long ago
        with _short(self._folder) as folder:
            self._listener.bind(f"{folder}/{self._name}")
        path.chmod(0o600)
        self._listener.listen(16)
        threading.Thread(target=self._tell, name="metrics", daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        (self._folder / self._name).unlink(missing_ok=True)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes up who waits at it
        self._listener.close()

    def _tell(self) -> None:
        while True:
            try:
                asked, _ = self._listener.accept()
            except OSError:  # it is over
                return
            with asked:
                try:
                    asked.settimeout(_DEADLINE)
                    told = self._own().encode()
                    asked.sendall(_LENGTH.pack(len(told)) + told)
                except OSError:  # who asked is gone
                    continue
                except Exception:
                    _log.exception("the metrics of this process cannot be told")

    def text(self) -> str:
        """What was counted by all, each sample with the label ``process``, in Prometheus' text format."""
        until = time.monotonic() + _DEADLINE
        asked = dict(self._asked())
        texts = [labelled(self._own(), str(os.getpid()))]
        for process, connection in asked.items():
            with connection:
                told = _received(connection, until)
            if told is None:
                _log.warning("process %s did not tell its metrics in %g s", process, _DEADLINE)
            else:
                texts.append(labelled(told, process))
        number = (
            "# HELP modelworks_processes Server processes that told what they counted.\n"
            f"# TYPE modelworks_processes gauge\nmodelworks_processes {float(len(texts))}\n"
        )
        return merged(texts) + number

    def _asked(self) -> Iterator[tuple[str, socket.socket]]:
        """Connections to the others, by process."""
        with _short(self._folder) as folder:
            for path in sorted(self._folder.glob(f"{self._group}-*.sock")):
                if path.name != self._name and (connection := _connected(folder, path)) is not None:
                    yield path.stem.removeprefix(f"{self._group}-"), connection


def tidy(folder: Path, group: str) -> None:
    """Remove the sockets of a group, all of whose processes are gone, and those that other dead ones left."""
    if not folder.is_dir():
        return
    with _short(folder) as short:
        for path in folder.glob("*.sock"):
            if path.name.startswith(f"{group}-"):
                path.unlink(missing_ok=True)
            elif (living := _connected(short, path)) is not None:
                living.close()


def labelled(text: str, process: str) -> str:
    """Metrics in Prometheus' text format with the label ``process``."""
    text = _LABELLED.sub(rf'\1{{process="{process}",', text)
    return _PLAIN.sub(rf'\1{{process="{process}"}} ', text)


def merged(texts: Iterable[str]) -> str:
    """Metrics of several processes as one text, in which each family stands once."""
    families: dict[str, list[str]] = {}
    for text in texts:
        for part in f"\n{text}".split("\n# HELP ")[1:]:
            said, kind, *samples = part.rstrip("\n").split("\n", 2)
            family = families.setdefault(said.split(" ", 1)[0], [f"# HELP {said}", kind])
            family += samples
    return "".join(f"{line}\n" for family in families.values() for line in family)


def _connected(folder: str, path: Path) -> socket.socket | None:
    """A connection to a socket; it is removed if nobody listens at it."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_DEADLINE)
    try:
        connection.connect(f"{folder}/{path.name}")
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
    except OSError:  # it has just ended, or has too much to do
        pass
    else:
        return connection
    connection.close()
    return None


def _received(connection: socket.socket, until: float) -> str | None:
    """All that a process tells, if it does so in time."""
    content, wanted = bytearray(), _LENGTH.size
    try:
        while len(content) < wanted:
            connection.settimeout(max(until - time.monotonic(), 0.001))
            part = connection.recv(1 << 20)
            if not part:
                return None
            content += part
            if len(content) >= _LENGTH.size:
                wanted = _LENGTH.size + _LENGTH.unpack_from(content)[0]
    except OSError:
        return None
    return content[_LENGTH.size :].decode()


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A folder's path that is short: that of a socket may have 107 bytes."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        short = f"/proc/self/fd/{opened}"
        yield short if os.path.exists(short) else str(folder)
    finally:
        os.close(opened)
