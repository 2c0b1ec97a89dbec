"""A page that marks names while somebody types: rules and a model in one product.

Run it with ``python app.py``, beside ``modelworks up``. What has a form (an e-mail address, a link) is found by a rule;
what has a meaning (a person, a place) by the model ``ner``, asked over REST as any application would. What people
correct on the page goes back as an outcome.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Route

RULES = {
    "EMAIL": re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}\b"),
    "LINK": re.compile(r"\bhttps?://[^\s<>\"]{1,500}[\w/]"),
}
MOST = 5_000
"""Characters of a text."""


def by_rule(text: str) -> list[dict[str, Any]]:
    """What has a form: entities as the model gives them."""
    return [
        {"text": found[0], "label": label, "start": found.start(), "end": found.end(), "by": "rule"}
        for label, rule in RULES.items()
        for found in rule.finditer(text)
    ]


def together(rules: list[dict[str, Any]], model: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Both, in the order of the text; where they overlap the rule is right."""
    free = [
        one
        for one in model
        if all(one["end"] <= rule["start"] or one["start"] >= rule["end"] for rule in rules)
    ]
    return sorted([*rules, *({**one, "by": "model"} for one in free)], key=lambda one: int(one["start"]))


def application(model: str) -> Starlette:
    """The application.

    Args:
        model: URL of the server that answers ``POST /predict/ner``.
    """
    client = httpx.AsyncClient(base_url=model, timeout=10)

    async def asked(path: str, body: Any) -> tuple[int, Any]:
        try:
            answer = await client.post(path, json=body)
        except httpx.HTTPError as error:
            return 503, {"error": f"the model does not answer: {error}"}
        told = answer.json()
        return answer.status_code, {"error": told["error"]["what"]} if "error" in told else told

    async def entities(request: Request) -> JSONResponse:
        text = str((await request.json()).get("text", ""))[:MOST]
        if not text.strip():
            return JSONResponse({"entities": []})
        status, told = await asked("/predict/ner", {"rows": [{"text": text}]})
        if status != 200:
            return JSONResponse({"entities": by_rule(text), **told})  # half of the product still works
        (answer,) = told["predictions"]
        found = together(by_rule(text), answer["output"])
        return JSONResponse({"id": answer["id"], "version": answer["version"], "entities": found})

    async def corrections(request: Request) -> JSONResponse:
        given = await request.json()
        value = json.dumps([[one["start"], one["end"], one["label"]] for one in given["entities"]])
        status, told = await asked(
            "/outcomes", {"outcomes": [{"prediction_id": given["id"], "value": value}]}
        )
        return JSONResponse(told, status)

    async def page(_request: Request) -> FileResponse:
        return FileResponse(Path(__file__).with_name("page.html"))

    return Starlette(
        routes=[
            Route("/", page),
            Route("/entities", entities, methods=["POST"]),
            Route("/corrections", corrections, methods=["POST"]),
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The page that marks names.")
    parser.add_argument("--model", default="http://127.0.0.1:8000", help="where the model answers")
    parser.add_argument("--port", type=int, default=8001)
    chosen = parser.parse_args()
    uvicorn.run(application(chosen.model), port=chosen.port, log_level="warning")
