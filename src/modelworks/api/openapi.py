"""The OpenAPI document: the verbs as FastAPI sees them, the data plane, and how one is refused."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from modelworks.api.openapi_plane import plane
from modelworks.factory import Factory

_TEXT = {"type": "string"}
_SCHEMAS: dict[str, Any] = {
    "Error": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "what", "why", "fix"],
                "properties": dict.fromkeys(("code", "what", "why", "fix"), _TEXT),
            }
        },
    },
    "ProtocolError": {"type": "object", "required": ["error"], "properties": {"error": _TEXT}},
}
_REFUSED = {
    "4XX": "Refused: what is wrong, why, and how to mend it",
    "503": "Not now: it exists and cannot be used yet, or something that it needs does not answer",
}


def described(app: FastAPI, factory: Factory) -> dict[str, Any]:
    """The document, made anew: models come and go."""
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    serve = factory.stations.serve
    document["paths"] |= plane(serve.plane.fleet.snapshot, serve.needed)
    components = document["components"]
    # What FastAPI would say of input that is not valid; here it is refused as everything else is.
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    components["schemas"] |= _SCHEMAS
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{}, {"token": []}]  # asked for once there is a token
    for path, methods in document["paths"].items():
        schema = "ProtocolError" if path.startswith("/v2") else "Error"
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
        for operation in methods.values():
            operation["responses"].pop("422", None)
            for status, said in _REFUSED.items():
                operation["responses"].setdefault(status, {"description": said, "content": content})
    return document
