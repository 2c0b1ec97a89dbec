"""The OpenAPI document: the verbs as FastAPI sees them, the data plane with an example a model."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from modelworks.core.schema import Kind
from modelworks.factory import Factory

_VALUES: dict[Kind, Any] = {
    Kind.NUMBER: 0.5,
    Kind.INTEGER: 1,
    Kind.TEXT: "text",
    Kind.BOOL: True,
    Kind.TIME: "2013-01-05T10:15:00Z",
}


def described(app: FastAPI, factory: Factory) -> dict[str, Any]:
    """The document, made anew: models come and go."""
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    paths = document["paths"]
    for model in factory.project.models.values():
        definition = model.definition
        contract = factory.project.dataset(definition.dataset).contract
        columns = dict.fromkeys([*definition.per, *definition.features])
        row = {name: _VALUES[contract[name].kind] for name in columns if name in contract}
        paths[f"/predict/{model.name}"] = {
            "post": _operation(
                f"Answer rows with {model.name}",
                "predict",
                {"rows": [row]},
                {
                    "model": model.name,
                    "predictions": [{"id": "...", "version": 3, "segment": "", "output": 0.5}],
                },
            )
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
