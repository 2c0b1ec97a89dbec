"""A client with the same verbs as a local factory, over HTTP."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

from modelworks.core.errors import (
    BadValue,
    Busy,
    Conflict,
    Denied,
    Invalid,
    ModelworksError,
    NotFound,
    NotReady,
    TooLarge,
    TooMany,
    Unavailable,
    Unfit,
    Unknown,
)
from modelworks.core.plain import plain
from modelworks.data.arrow import MEDIA, to_arrow
from modelworks.factory import VERBS

_KINDS = {
    kind.code: kind
    for kind in (NotFound, Conflict, Invalid, TooLarge, NotReady, Unknown, Denied, TooMany, Busy, Unavailable)
}


class Client:
    """A factory somewhere else. Every verb of `modelworks.factory.Factory` is a method: ``client.models()``.

    Args:
        url: Where it listens, for instance ``"http://127.0.0.1:8000"``.
        token: Token to send, if it asks for one.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        headers = {"authorization": f"Bearer {token}"} if token else {}
        # A training answers when it is done: only connecting has a limit.
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=httpx.Timeout(None, connect=5.0)
        )

    def call(self, verb: str, **arguments: Any) -> Any:
        """Call a verb by its name.

        Raises:
            ModelworksError: as the verb raises it; `Unavailable` where nobody answers.
        """
        route = VERBS.get(verb)
        if route is None:
            raise NotFound(f"there is no verb {verb!r}", f"there are {', '.join(VERBS)}", "use one of these")
        given = {name: value for name, value in arguments.items() if value is not None}
        if route.method == "GET":
            return self._send("GET", route.path, params=given)
        return self._send("POST", route.path, json=plain(given))

    def __getattr__(self, name: str) -> Any:
        if name not in VERBS:
            raise AttributeError(name)
        return lambda **arguments: self.call(name, **arguments)

    def predict(self, model: str, rows: Sequence[Mapping[str, Any]] | Any) -> Any:
        """Answer rows, objects or a frame: see ``POST /predict/{model}``."""
        path = f"/predict/{quote(model, safe='')}"
        return self._send("POST", path, json={"rows": plain(_objects(rows))})

    def stream(self, model: str, rows: Sequence[Mapping[str, Any]] | Any) -> Iterator[dict[str, Any]]:
        """Answer rows piece by piece, as they come: see ``POST /predict/{model}/stream``.

        Leaving the loop ends the work; what was given is in the log, as cut off.

        Yields:
            ``{"row", "piece"}`` for each piece, at last what `predict` would have answered.

        Raises:
            ModelworksError: as `predict`; also in the middle.
        """
        path = f"/predict/{quote(model, safe='')}/stream"
        try:
            with self._http.stream("POST", path, json={"rows": plain(_objects(rows))}) as response:
                if not response.is_success:
                    response.read()
                    raise _refusal(path, response)
                for event, data in events(response.iter_lines()):
                    if event == "error":
                        raise _error(data["error"], "")
                    yield data
                    if event == "done":
                        return
        except httpx.HTTPError as error:
            raise self._silent(error) from error
        raise Unavailable(f"{self.url} gave no end of its answer", "the connection has ended", "ask again")

    def outcomes(self, outcomes: Sequence[Mapping[str, Any]]) -> Any:
        """Tell what really happened: see ``POST /outcomes``."""
        return self._send("POST", "/outcomes", json={"outcomes": plain(list(outcomes))})

    def push(self, dataset: str, rows: Sequence[Mapping[str, Any]] | Any, id: str | None = None) -> Any:
        """Push rows: see ``POST /ingest/{dataset}``.

        Args:
            dataset: Where to.
            rows: Objects, or a frame of Polars, pandas or Arrow, which is sent as Arrow IPC.
            id: A name for this delivery: the same one again adds nothing, so it can be repeated without fear.
        """
        path, headers = f"/ingest/{quote(dataset, safe='')}", {} if id is None else {"idempotency-key": id}
        if isinstance(rows, Sequence):
            return self._send("POST", path, json={"rows": plain(list(rows))}, headers=headers)
        import polars as pl

        frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(rows)
        headers["content-type"] = MEDIA[0]
        return self._send("POST", path, content=to_arrow(frame), headers=headers)

    def tell(self, batch: bytes) -> None:
        """Send entries of runs, encoded already: see ``POST /api/track``."""
        self._send("POST", "/api/track", content=batch, headers={"content-type": "application/json"})

    def upload(self, content: bytes) -> str:
        """Keep the content of an artifact; returns its digest: see ``POST /api/artifact``."""
        digest: str = self._send("POST", "/api/artifact", content=content)["digest"]
        return digest

    def artifact(self, run: str, name: str) -> bytes:
        """The content of an artifact of a run: see ``GET /api/artifact``."""
        return self._answer("GET", "/api/artifact", params={"run": run, "name": name}).content

    def _send(self, method: str, path: str, **request: Any) -> Any:
        return self._answer(method, path, **request).json()

    def _answer(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise self._silent(error) from error
        if response.is_success:
            return response
        raise _refusal(path, response)

    def _silent(self, error: httpx.HTTPError) -> Unavailable:
        return Unavailable(
            f"{self.url} does not answer",
            str(error) or type(error).__name__,
            "check the address; 'modelworks up' starts a server",
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _objects(rows: Any) -> list[Mapping[str, Any]]:
    """The rows of a frame of pandas or Polars, or objects as they are."""
    if hasattr(rows, "to_dicts"):
        return list(rows.to_dicts())
    return list(rows.to_dict("records") if hasattr(rows, "to_dict") else rows)


def connect(url: str, token: str | None = None) -> Client:
    """A client of the factory at `url`."""
    return Client(url, token)


def events(lines: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """The events of a stream: their kind, and their data, which is JSON in one line.

    Source: the WHATWG's HTML standard, section 9.2, as far as our own server goes.
    """
    kind, data = "message", ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            data = value
        elif not line and data:
            yield kind, jsonlib.loads(data)
            kind, data = "message", ""


def _refusal(path: str, response: httpx.Response) -> ModelworksError:
    try:
        told = response.json()["error"]
        return _error(told, response.headers.get("retry-after", ""))
    except (ValueError, KeyError, TypeError):
        return Unavailable(
            f"{path} answered {response.status_code}", response.text[:200], "is it a Modelworks server?"
        )


def _error(told: Mapping[str, Any], after: str) -> ModelworksError:
    """The error as the server has raised it."""
    if told.get("code") == Unfit.code and told.get("values"):
        return Unfit([BadValue(**one) for one in told["values"]], told.get("fix", ""))
    kind = _KINDS.get(told.get("code", ""), ModelworksError)
    error = kind(told.get("what", ""), told.get("why", ""), told.get("fix", ""))
    if isinstance(error, TooMany) and after.isdigit():
        error.after = float(after)
    return error
