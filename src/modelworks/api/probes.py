"""All that a server answers that only predicts, besides predictions: probes and metrics."""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from modelworks.api.guard import Guard
from modelworks.core.errors import Denied
from modelworks.core.plain import to_json
from modelworks.serving.data_plane import DataPlane
from modelworks.serving.replies import http_status


def predictions_only(plane: DataPlane, guard: Guard, told: Callable[[], str] | None = None) -> Starlette:
    """The application behind the data plane; `told` gives its metrics, where it has not all of them itself."""

    def health(_request: Request) -> Response:
        return _said({"status": "ok"})

    def ready(_request: Request) -> Response:
        """Not before all that is to answer is loaded."""
        fleet = plane.fleet
        if plane.leaving:
            return _said({"status": "ending"}, 503)
        if fleet.ready and not fleet.failures:
            return _said({"status": "ready"})
        return _said({"status": "loading", "failures": list(fleet.failures.values())}, 503)

    def metrics(request: Request) -> Response:
        try:
            if guard.needed():
                guard.role(request.headers.get("authorization"), "reader")
        except Denied as error:
            return _said({"error": error.to_json()}, http_status(error))
        return Response((told or plane.metrics_text)(), media_type="text/plain; version=0.0.4")

    def nothing(request: Request, _error: Exception) -> Response:
        told = {
            "code": "not_found", "what": f"there is no {request.url.path[:120]!r}",
            "why": "this server only predicts", "fix": "POST /predict/MODEL, or see GET /v2",
        }  # fmt: skip
        return _said({"error": told}, 404)

    routes = [Route("/healthz", health), Route("/readyz", ready), Route("/metrics", metrics)]
    return Starlette(routes=routes, exception_handlers={404: nothing})


def _said(told: object, status: int = 200) -> Response:
    return Response(to_json(told), status, media_type="application/json")
