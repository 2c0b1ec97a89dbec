"""What the OpenAPI document says of the data plane: predictions, outcomes, the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from modelworks.serving.example import example, schema
from modelworks.serving.fleet import Snapshot
from modelworks.serving.tensors import DATATYPES

_TEXT = {"type": "string"}
_PREDICTED = {
    "type": "object",
    "required": ["model", "predictions"],
    "properties": {
        "model": _TEXT,
        "predictions": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "version", "segment", "output"],
                "properties": {"id": _TEXT, "version": {"type": "integer"}, "segment": _TEXT, "output": {}},
            },
        },
    },
}
_EVENTS = (
    'data: {"row":0,"piece":"It is"}\n\ndata: {"row":0,"piece":" late"}\n\nevent: done\ndata: {"model":"story",'
    '"predictions":[{"id":"01a2154528dd000008a1a561ff-0","version":1,"segment":"","output":"It is late"}]}\n\n'
)
_OUTCOMES = {
    "type": "object",
    "required": ["outcomes"],
    "properties": {
        "outcomes": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["value"],
                "properties": {
                    "prediction_id": _TEXT, "key": {}, "value": {}, "time": {"type": "string", "format": "date-time"}
                },
            },
        }
    },
}  # fmt: skip
_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": _TEXT,
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"enum": list(DATATYPES)},
        "parameters": {"type": "object"},
        "data": {"type": "array"},
    },
}
_ASKED = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": _TEXT,
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {"type": "array", "items": {"type": "object", "required": ["name"], "properties": {"name": _TEXT}}},
    },
}  # fmt: skip
_INFERRED = {
    "type": "object",
    "required": ["model_name", "outputs"],
    "properties": {
        "model_name": _TEXT, "model_version": _TEXT, "id": _TEXT, "outputs": {"type": "array", "items": _TENSOR}
    },
}  # fmt: skip
_READY = {
    "type": "object",
    "required": ["ready"],
    "properties": {"name": _TEXT, "ready": {"type": "boolean"}},
}
_METADATA = {
    "type": "object",
    "required": ["name", "versions", "platform", "inputs", "outputs"],
    "properties": {
        "name": _TEXT,
        "versions": {"type": "array", "items": _TEXT},
        "platform": _TEXT,
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {"type": "array", "items": _TENSOR},
    },
}
_INDEX = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name", "state"],
        "properties": dict.fromkeys(("name", "version", "state", "reason"), _TEXT),
    },
}


def plane(snapshot: Snapshot, needed: Callable[[Any], Sequence[str]]) -> dict[str, Any]:
    """The paths of the data plane.

    Args:
        snapshot: What is live.
        needed: Columns that the computed features of a declared model are computed from.
    """
    paths: dict[str, Any] = {}
    # What is not live would not answer.
    live = {name: served for name, served in sorted(snapshot.models.items()) if served.replicas}
    for name, served in live.items():
        request, answer = example(served, needed(served.declared))
        paths[f"/predict/{name}"] = {
            "post": _operation(
                f"Answer rows with {name}", "predict", _PREDICTED, schema(served), request, answer
            )
        }
    paths["/outcomes"] = {
        "post": _operation(
            "Tell what really happened",
            "predict",
            {"type": "object", "required": ["accepted"], "properties": {"accepted": {"type": "integer"}}},
            _OUTCOMES,
            {"outcomes": [{"key": "...", "value": 1, "time": "2013-01-05T13:40:00Z"}]},
            {"accepted": 1},
        )
    }
    paths["/predict/{model}/stream"] = {"post": _streamed(next(iter(live), "delay"))}
    return paths | _protocol(next(iter(live), "delay"))


def _named(model: str) -> dict[str, Any]:
    """The parameter that names a model, as for this one."""
    return {"name": "model", "in": "path", "required": True, "schema": _TEXT,
            "description": "A model, or MODEL[SEGMENT]", "example": model}  # fmt: skip


def _streamed(model: str) -> dict[str, Any]:
    """Answers that come piece by piece, of any model, as of this one; the body is that of its ``/predict``."""
    body = {
        "type": "object",
        "required": ["rows"],
        "properties": {"rows": {"type": "array", "items": {"type": "object"}}},
    }
    operation = _operation("Answer rows piece by piece", "predict", _TEXT, body)
    operation["parameters"] = [_named(model)]
    operation["responses"]["200"] = {
        "description": "Server-sent events: data {row, piece} for each piece, at last 'done' with what /predict "
        "would have answered, or 'error' with the error",
        "content": {"text/event-stream": {"schema": _TEXT, "example": _EVENTS}},
    }
    return operation


def _protocol(model: str) -> dict[str, Any]:
    """The Open Inference Protocol, for any model, as for this one."""
    tag = "open inference protocol"
    named = _named(model)
    numbered = {"name": "version", "in": "path", "required": True, "schema": _TEXT, "example": "1"}
    tensors = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [0.5]}]}
    paths = {
        "/v2": {"get": _operation("The server", tag, {"type": "object", "required": ["name", "version"]})},
        "/v2/health/live": {"get": _operation("Whether it lives", tag, {"type": "object"})},
        "/v2/health/ready": {"get": _operation("Whether all is loaded", tag, _READY, unready=True)},
        "/v2/repository/index": {
            "post": _operation("What there is", tag, _INDEX, {"type": "object"}, needed=False)
        },
    }
    for verb, said in (("load", "Look for news of a model"), ("unload", "Refused for what is deployed")):
        paths[f"/v2/repository/models/{{model}}/{verb}"] = {
            "post": _operation(said, tag, {"type": "object"}, {"type": "object"}, needed=False)
            | {"parameters": [named]}
        }
    for path, parameters in (
        ("/v2/models/{model}", [named]),
        ("/v2/models/{model}/versions/{version}", [named, numbered]),
    ):
        paths[path] = {"get": _operation("What it takes and gives", tag, _METADATA)}
        paths[f"{path}/ready"] = {"get": _operation("Whether it answers", tag, _READY, unready=True)}
        paths[f"{path}/infer"] = {"post": _operation("Answer tensors", tag, _INFERRED, _ASKED, tensors)}
        for one in ("", "/ready", "/infer"):
            for operation in paths[path + one].values():
                operation["parameters"] = parameters
    return paths


def _operation(
    summary: str,
    tag: str,
    answer: Any,
    body: Any = None,
    request: Any = None,
    answered: Any = None,
    *,
    needed: bool = True,
    unready: bool = False,
) -> dict[str, Any]:
    """One operation.

    Args:
        summary: What it does.
        tag: Where it belongs.
        answer: Schema of the answer.
        body: Schema of the body; ``None`` for none.
        request: An example of the body.
        answered: An example of the answer.
        needed: Whether there must be a body.
        unready: Whether a 503 has the form of an answer.
    """
    content = {"schema": answer} | ({} if answered is None else {"example": answered})
    operation: dict[str, Any] = {
        "summary": summary,
        "tags": [tag],
        "responses": {"200": {"description": "Answered", "content": {"application/json": content}}},
    }
    if unready:
        operation["responses"]["503"] = {
            "description": "Not yet",
            "content": {"application/json": {"schema": answer}},
        }
    if body is not None:
        content = {"schema": body} | ({} if request is None else {"example": request})
        operation["requestBody"] = {"required": needed, "content": {"application/json": content}}
    return operation
