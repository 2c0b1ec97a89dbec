"""The FastAPI application: one route a verb, made from the verb's own signature."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Literal

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import Field, create_model
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from modelworks import __version__
from modelworks.api import logs
from modelworks.api.guard import Guard
from modelworks.api.openapi import described
from modelworks.console import page
from modelworks.console.card import page as card_page
from modelworks.core.errors import Invalid, ModelworksError, NotFound, TooLarge
from modelworks.core.plain import plain, to_json
from modelworks.data.arrow import MEDIA, frame_of
from modelworks.factory import VERBS, Factory, Route
from modelworks.serving.about import About
from modelworks.serving.replies import error_headers, http_status
from modelworks.track.entry import read_batch

log = logging.getLogger("modelworks.api")

_OPEN = ("/healthz", "/readyz")


class Plain(JSONResponse):
    """JSON as the rest of the house writes it."""

    def render(self, content: Any) -> bytes:
        """Encode with `core.plain`."""
        return to_json(content)


def create_app(factory: Factory, guard: Guard, told: Callable[[], str] | None = None) -> FastAPI:
    """The application around a factory; `told` gives the metrics, where they are not this process' alone."""
    app = FastAPI(
        title="Modelworks", version=__version__, docs_url=None, redoc_url=None, default_response_class=Plain
    )

    @app.middleware("http")
    async def guarded(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        begun = time.perf_counter()
        response = await answered(request, call_next)
        told: About | None = getattr(request.state, "about", None)
        seconds = time.perf_counter() - begun
        logs.access.info(
            "%s %s",
            request.method,
            request.url.path,
            extra={
                "status": response.status_code,
                "milliseconds": round(1000 * seconds, 2),
                "client": request.client.host if request.client else None,
                "request": told.id.decode() if told is not None and told.id else None,
            },
        )
        return response

    async def answered(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        try:
            if request.url.path not in _OPEN:
                guard.same_site(request.method, request.headers)
                if guard.needed() and request.url.path != "/":
                    guard.role(request.headers.get("authorization"), _role(request))
            return await call_next(request)
        except ModelworksError as error:
            return _reply(error)
        except Exception:
            log.exception("%s %s failed", request.method, request.url.path)
            return _reply(ModelworksError("the server failed", "", "see its log, and report it"))

    app.add_exception_handler(ModelworksError, lambda _request, error: _reply(error))
    app.add_exception_handler(RequestValidationError, lambda _request, error: _reply(_invalid(error)))
    app.add_exception_handler(HTTPException, _http_error)  # type: ignore[arg-type]
    for name, route in VERBS.items():
        if name != "track":
            _add(app, factory, name, route)

    @app.post("/api/track", tags=["factory"], summary=_said(Factory.track), openapi_extra=_BATCH)
    async def track(request: Request) -> Response:
        """Thousands of entries a request: they are decoded once, to what the ledger takes."""
        batch = read_batch(await _body(request, factory.config.settings.server_max_body))
        return Plain(await run_in_threadpool(factory.tracking.take, batch))

    @app.post("/ingest/{dataset}", tags=["data"], summary="Send rows to a dataset", openapi_extra=_PUSHED)
    async def push(dataset: str, request: Request) -> Response:
        """Push rows, held against the dataset's contract: `{"rows": [{...}, ...]}`, or Arrow IPC.

        With a header `Idempotency-Key` the same delivery sent again adds nothing.
        """
        content = await _body(request, factory.config.settings.server_max_body)
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        id = request.headers.get("idempotency-key")

        def take_in() -> Any:
            return factory.push(dataset, frame_of(content) if media in MEDIA else _rows(content), id)

        return Plain(await run_in_threadpool(take_in))

    @app.post("/api/artifact", tags=["factory"], summary="Keep the content of an artifact of a run")
    async def keep(request: Request) -> Response:
        """Upload it as it is, before the entry that names its digest."""
        body = await _body(request, factory.config.settings.server_max_body)
        digest = await run_in_threadpool(factory.stores.artifacts.put, body)
        return Plain({"digest": digest})

    @app.get(
        "/api/artifact",
        tags=["factory"],
        summary="The content of an artifact of a run",
        response_class=Response,
        responses=_media("application/octet-stream"),
    )
    def artifact(run: str, name: str) -> Response:
        """Download it; it is never shown as a page of this site."""
        headers = {"content-disposition": "attachment", "x-content-type-options": "nosniff"}
        content = factory.tracking.artifact(run, name)
        return Response(content, headers=headers, media_type="application/octet-stream")

    @app.get(
        "/api/card.{form}",
        tags=["factory"],
        summary="The model card of a version, as a page",
        response_class=Response,
        responses=_media("text/html", "text/markdown"),
    )
    def card(form: Literal["html", "md"], ref: str) -> Response:
        """One HTML file that needs nothing else, or Markdown."""
        text = card_page(plain(factory.card(ref)), form)
        if form == "md":
            return Response(text, media_type="text/markdown; charset=utf-8")
        policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
        return HTMLResponse(text, headers={"content-security-policy": policy, "x-frame-options": "DENY"})

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        text = (told or factory.stations.serve.plane.metrics_text)()
        return Response(text, media_type="text/plain; version=0.0.4")

    @app.get("/healthz", include_in_schema=False)
    def health() -> Response:
        return Plain({"status": "ok"})

    @app.get("/readyz", include_in_schema=False)
    def ready() -> Response:
        if factory.stations.serve.plane.leaving:
            return Plain({"status": "ending"}, 503)
        with factory.stores.ledger.read():
            return Plain({"status": "ready"})

    @app.get("/", include_in_schema=False)
    def console() -> Response:
        return HTMLResponse(page(), headers={"content-security-policy": _POLICY, "x-frame-options": "DENY"})

    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:
        return HTMLResponse(page("reference"), headers={"content-security-policy": _POLICY})

    app.openapi = lambda: described(app, factory)  # type: ignore[method-assign]
    return app


_BATCH = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "example": {"entries": [{"run": "01a2154528dd000008a1a561ff", "time": 1767225600000000,
                                         "name": "baseline", "params": {"depth": 6}, "metrics": {"auc": 0.8}}]}
            }
        },
    }
}  # fmt: skip
_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'"
)


def _media(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """What an answer is, where it is not JSON."""
    return {
        200: {
            "description": "The content",
            "content": {kind: {"schema": {"type": "string"}} for kind in kinds},
        }
    }


_COUNT = Annotated[int, Field(ge=0, le=1_000_000_000)]
"""Whatever a verb counts, in a range in which no database and no calendar overflows."""


def _bounded(annotation: Any) -> Any:
    """The type of a parameter, whole numbers within bounds."""
    if annotation is int:
        return _COUNT
    return _COUNT | None if annotation == int | None else annotation


def _add(app: FastAPI, factory: Factory, name: str, route: Route) -> None:
    """A route for one verb: query parameters for GET, a JSON body for POST."""
    method = getattr(Factory, name)
    signature = inspect.signature(method, eval_str=True)
    parameters = [
        p.replace(annotation=_bounded(p.annotation))
        for p in list(signature.parameters.values())[1:]
        if p.name != "progress"
    ]

    def answer(**arguments: Any) -> Response:
        return Plain(getattr(factory, name)(**arguments))

    endpoint: Any = answer
    if route.method == "GET":
        endpoint.__signature__ = signature.replace(parameters=parameters, return_annotation=Any)
    else:
        fields: dict[str, Any] = {
            p.name: (p.annotation, ... if p.default is inspect.Parameter.empty else p.default)
            for p in parameters
        }
        body = create_model(f"{name.title()}Request", __config__={"extra": "forbid"}, **fields)

        def endpoint_with_body(request: Any) -> Response:
            return answer(**{p.name: getattr(request, p.name) for p in parameters})

        endpoint = endpoint_with_body
        endpoint.__annotations__ = {"request": body, "return": Any}
    endpoint.__name__ = name
    app.add_api_route(
        route.path,
        endpoint,
        methods=[route.method],
        summary=_said(method),
        description=f"Needs the role *{route.role}* where tokens are in use.",
        tags=["factory"],
        response_model=None,
    )


def _said(method: Callable[..., Any]) -> str:
    """The first line of a verb's documentation."""
    return (method.__doc__ or "").strip().split("\n")[0]


def _role(request: Request) -> Any:
    wanted = next((route.role for route in VERBS.values() if route.path == request.url.path), None)
    return wanted or ("builder" if request.method == "POST" else "reader")


async def _body(request: Request, limit: int) -> bytes:
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > limit:
            raise TooLarge(f"the body is over {limit} bytes", "server.max_body", "send less at a time")
    return bytes(content)


def _rows(content: bytes) -> list[dict[str, Any]]:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Invalid("the body is not JSON", str(error), "send a JSON object") from error
    rows = body.get("rows") if isinstance(body, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Invalid(
            "the body has no rows",
            'it must be {"rows": [{...}, ...]}',
            "send an object with a list of rows",
        )
    return rows


_PUSHED = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["rows"],
                    "properties": {"rows": {"type": "array", "items": {"type": "object"}}},
                }
            },
            **{media: {"schema": {"type": "string", "format": "binary"}} for media in MEDIA},
        },
    },
    "parameters": [
        {
            "name": "idempotency-key",
            "in": "header",
            "required": False,
            "schema": {"type": "string", "maxLength": 200},
        }
    ],
}


def _reply(error: ModelworksError) -> Response:
    headers = {name.decode(): value.decode() for name, value in error_headers(error)}
    return Plain({"error": error.to_json()}, http_status(error), headers)


def _invalid(error: RequestValidationError) -> Invalid:
    first: Mapping[str, Any] = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query"))
    return Invalid(
        f"{where or 'the request'} is not valid", str(first["msg"]), "see /docs for what the call takes"
    )


def _http_error(request: Request, error: HTTPException) -> Response:
    if error.status_code == 404:
        return _reply(NotFound(f"there is no {request.url.path[:120]!r}", "", "GET /docs lists all there is"))
    body = {"error": {"code": "invalid", "what": str(error.detail), "why": "", "fix": "see /docs"}}
    return Plain(body, error.status_code, dict(error.headers or {}))
