"""The OpenAPI document: the verbs as FastAPI sees them, the data plane with an example a model."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from modelworks.factory import Factory
from modelworks.serving.example import example


def described(app: FastAPI, factory: Factory) -> dict[str, Any]:
    """The document, made anew: models come and go."""
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    paths = document["paths"]
    serve = factory.stations.serve
    for name, served in sorted(serve.plane.fleet.snapshot.models.items()):
        if served.replicas:  # what is not live would not answer
            request, answer = example(served, serve.needed(served.declared))
            paths[f"/predict/{name}"] = {
                "post": _operation(f"Answer rows with {name}", "predict", request, answer)
            }
    paths["/outcomes"] = {
        "post": _operation(
            "Tell what really happened",
            "predict",
            {"outcomes": [{"key": "...", "value": 1, "time": "2013-01-05T13:40:00Z"}]},
            {"accepted": 1},
        )
    }
    paths["/v2/models/{model}/infer"] = {
        "post": _operation(
            "Open Inference Protocol, version 2",
            "open inference protocol",
            {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [0.5]}]},
            {},
        )
        | {"parameters": [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]}
    }
    return document


def _operation(summary: str, tag: str, request: Any, answer: Any) -> dict[str, Any]:
    return {
        "summary": summary,
        "tags": [tag],
        "requestBody": {"required": True, "content": {"application/json": {"example": request}}},
        "responses": {
            "200": {"description": "Answered", "content": {"application/json": {"example": answer}}}
        },
    }
