"""The ASGI application of MLflow's door: routes, tokens, bodies, files; beside the API, for every call counts."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import orjson

from modelworks.api.guard import Guard
from modelworks.api.mlflow import (  # noqa: F401 - they enter their calls into the list
    artifacts,
    experiments,
    logged_models,
    lookup,
    model_versions,
    registered_models,
    runs,
)
from modelworks.api.mlflow.calls import CALLS, Call, Door, Json, failed
from modelworks.core.errors import Invalid, ModelworksError, TooLarge, Unknown
from modelworks.core.plain import to_json
from modelworks.factory import Factory

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Answer = tuple[int, bytes | Iterator[bytes], list[tuple[bytes, bytes]]]

log = logging.getLogger("modelworks.api.mlflow")

ROOT = "/mlflow"
_VERSIONS = re.compile(r"/(?:api|ajax-api)/[23]\.0/")
_FILE = "mlflow-artifacts/artifacts/"
_INFO = "mlflow/server-info"
_JSON = [(b"content-type", b"application/json")]
_OLD = 24 * 3600
"""Seconds after which a file that was half sent is taken to be given up."""


class MlflowApp:
    """Answers what is under ``/mlflow``.

    Args:
        factory: The project.
        guard: Who may call.
    """

    def __init__(self, factory: Factory, guard: Guard) -> None:
        self.factory = factory
        self.guard = guard
        self.limits = factory.config.settings
        self._plain: dict[tuple[str, str], Call] = {
            (call.method, call.path): call for call in CALLS if "{" not in call.path
        }
        self._patterns = [
            (call, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", call.path)))
            for call in CALLS
            if "{" in call.path
        ]
        self._incoming = factory.config.state / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        for left in self._incoming.iterdir():
            if left.stat().st_mtime < time.time() - _OLD:
                left.unlink(missing_ok=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification, version 3."""
        try:
            answer = await self._answer(scope, receive)
        except ModelworksError as error:
            answer = self._failed(error)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            answer = 500, to_json({"error_code": "INTERNAL_ERROR", "message": "the server failed"}), _JSON
        status, body, headers = answer
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if isinstance(body, bytes):
            await send({"type": "http.response.body", "body": body})
            return
        while (part := await asyncio.to_thread(next, body, None)) is not None:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        method, path = scope["method"], scope["path"].removeprefix(ROOT)
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        self.guard.same_site(method, headers)
        found = _VERSIONS.match(path)
        rest = path[found.end() :] if found else ""
        if rest.startswith(_FILE):
            role = "reader" if method in ("GET", "HEAD") else "builder"
            door = Door(self.factory, self._who(headers, role))
            return await self._file(door, method, rest.removeprefix(_FILE), receive)
        if path == "/health" or rest == _INFO:
            self._who(headers, "reader")
            return (200, b"OK", [(b"content-type", b"text/plain")]) if not rest else _told(_SERVER)
        call, given = self._route(method, rest)
        if call is None:
            return self._nowhere(path)
        door = Door(self.factory, self._who(headers, call.role))
        if method == "GET" or (method == "DELETE" and scope["query_string"]):
            given |= _asked(scope["query_string"], call)
        if method != "GET":
            given |= _read(await _body(receive, self.limits.server_max_body))
        return _told(await asyncio.to_thread(call, door, given))

    def _who(self, headers: dict[str, str], role: Any) -> str:
        """The caller, who may do what asks for the role.

        Raises:
            Denied: it may not.
        """
        if not self.guard.needed():
            return self.factory.who
        return self.guard.role(headers.get("authorization"), role).name

    def _route(self, method: str, path: str) -> tuple[Call | None, Json]:
        call = self._plain.get((method, path))
        if call is not None:
            return call, {}
        for one, pattern in self._patterns:
            found = pattern.fullmatch(path) if one.method == method else None
            if found is not None:
                return one, found.groupdict()
        return None, {}

    def _nowhere(self, path: str) -> Answer:
        text = f"{path[:200]!r} is not among the calls of MLflow that are answered here"
        return 404, to_json({"error_code": "ENDPOINT_NOT_FOUND", "message": text}), _JSON

    def _failed(self, error: ModelworksError) -> Answer:
        status, told = failed(error)
        if isinstance(error, Unknown):
            return (
                401,
                to_json({**told, "error_code": "UNAUTHENTICATED"}),
                [*_JSON, (b"www-authenticate", b"Bearer")],
            )
        closing = [(b"connection", b"close")] if isinstance(error, TooLarge) else []
        return status, to_json(told), [*_JSON, *closing]

    # -- files -----------------------------------------------------------------------------------------------

    async def _file(self, door: Door, method: str, path: str, receive: Receive) -> Answer:
        if method == "PUT":
            await self._put(door, path, receive)
            return _told({})
        if method == "DELETE":
            await asyncio.to_thread(artifacts.remove, door, path)
            return _told({})
        if method not in ("GET", "HEAD"):
            raise Invalid(f"a file is not asked with {method}", "", "use GET, PUT or DELETE")
        digest = await asyncio.to_thread(artifacts.digest_at, door, path)
        store = self.factory.stores.artifacts
        headers = [
            (b"content-type", b"application/octet-stream"),
            (b"content-length", str(store.size(digest)).encode()),
            (b"content-disposition", b"attachment"),
            (b"x-content-type-options", b"nosniff"),
        ]
        return 200, b"" if method == "HEAD" else store.chunks(digest), headers

    async def _put(self, door: Door, path: str, receive: Receive) -> None:
        """Take a file in as it comes; it becomes visible when all of it is there."""
        artifacts.place(path)  # a wrong path is refused before the file is sent
        limit = self.limits.server_max_artifact
        descriptor, name = tempfile.mkstemp(dir=self._incoming)
        try:
            with os.fdopen(descriptor, "wb") as file:
                size = 0
                async for part in _parts(receive):
                    size += len(part)
                    if size > limit:
                        raise TooLarge(f"the file is over {limit} bytes", "server.max_artifact", "")
                    await asyncio.to_thread(file.write, part) if len(part) > 1 << 20 else file.write(part)
            digest = await asyncio.to_thread(self.factory.stores.artifacts.take, Path(name))
            await asyncio.to_thread(artifacts.put, door, path, digest)
        finally:
            Path(name).unlink(missing_ok=True)


_SERVER = {
    "store_type": "SqlStore",
    "workspaces_enabled": False,
    "trace_archival_enabled": False,
    "multipart_uploads_enabled": False,
    "multipart_downloads_enabled": False,
}


def _told(answer: Json) -> Answer:
    return 200, to_json(answer), _JSON


async def _parts(receive: Receive) -> Any:
    """The pieces of a body.

    Raises:
        Invalid: the caller went away.
    """
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Invalid("the caller went away", "not all of the body came", "send it again")
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def _body(receive: Receive, limit: int) -> bytes:
    content = bytearray()
    async for part in _parts(receive):
        content += part
        if len(content) > limit:
            raise TooLarge(f"the body is over {limit} bytes", "server.max_body", "send less at a time")
    return bytes(content)


def _read(body: bytes) -> Json:
    """The arguments in a body.

    Raises:
        Invalid: it is no JSON object.
    """
    if not body:
        return {}
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Invalid("the body is not JSON", str(error), "send a JSON object") from None
    if not isinstance(given, dict):
        raise Invalid("the body is no JSON object", "", "send one")
    return given


def _asked(query: bytes, call: Call) -> Json:
    """The arguments in a query."""
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True)
    return {name: values if name in call.lists else values[-1] for name, values in given.items()}


def mounted(app: Any, mlflow: MlflowApp) -> Any:
    """An application with MLflow's door beside it."""

    async def both(scope: Scope, receive: Receive, send: Send) -> None:
        ours = scope["type"] == "http" and (scope["path"] == ROOT or scope["path"].startswith(f"{ROOT}/"))
        await (mlflow if ours else app)(scope, receive, send)

    return both
