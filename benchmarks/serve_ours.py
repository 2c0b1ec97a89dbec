"""The servers of ours that `bench-serve` starts: the product, a bare echo, and scikit-learn behind FastAPI.

Each in a process of its own: ``python serve_ours.py --serve NAME --port PORT --state FOLDER --kind KIND``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

KINDS = {"linear": 10, "trees": 20}


def names_of(kind: str) -> list[str]:
    return [f"x{number}" for number in range(KINDS[kind])]


def fitted(kind: str, named: bool = True) -> tuple[Any, Any, Any]:
    """The model and its rows; without names its own checks cost it less time."""
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(size=(2000, KINDS[kind])), columns=names_of(kind))
    y = (x.sum(axis=1) + rng.normal(size=2000) > 0).astype(int).to_numpy()
    model = HistGradientBoostingClassifier(max_iter=100) if kind == "trees" else LogisticRegression()
    return model.fit(x if named else x.to_numpy(), y), x, y


def serve_echo(port: int, _state: Path, _kind: str) -> None:
    import uvicorn

    async def echo(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    _run(uvicorn, echo, port)


def serve_fastapi(port: int, _state: Path, kind: str) -> None:
    import uvicorn
    from fastapi import FastAPI, Request
    from pydantic import BaseModel, create_model

    names = names_of(kind)
    model, _, _ = fitted(kind, named=False)
    app = FastAPI()
    row_type = create_model("Row", **dict.fromkeys(names, (float, ...)))  # type: ignore[call-overload]

    class Rows(BaseModel):
        rows: list[row_type]  # type: ignore[valid-type]

    async def predict(request: Request) -> dict[str, Any]:
        rows = (await request.json())["rows"]
        scores = model.predict_proba(np.array([[row[name] for name in names] for row in rows]))
        return {"predictions": scores[:, 1].tolist()}

    async def predict_pydantic(rows: Rows) -> dict[str, Any]:
        values = np.array([[getattr(row, name) for name in names] for row in rows.rows])
        return {"predictions": model.predict_proba(values)[:, 1].tolist()}

    # FastAPI looks annotations up in the module, where these local classes are not.
    predict.__annotations__["request"] = Request
    predict_pydantic.__annotations__["rows"] = Rows
    app.post("/predict")(predict)
    app.post("/predict-pydantic")(predict_pydantic)
    _run(uvicorn, app, port)


def serve_ours(port: int, state: Path, _kind: str) -> None:
    from modelworks.serving import server
    from modelworks.serving.station import ServeStation
    from modelworks.stores import open_stores

    server.run(None, ServeStation(open_stores(state)).plane, port=port)


def deploy(state: Path, kind: str) -> None:
    """Pack the model and make it the champion."""
    from sqlalchemy import insert

    from modelworks.core.clock import new_id, system_clock
    from modelworks.deploy.deployment import Promotion
    from modelworks.deploy.station import DeployStation
    from modelworks.models.packaging import pack
    from modelworks.models.signature_of import signature
    from modelworks.stores import open_stores
    from modelworks.stores.ledger.tables import model_versions, models

    stores = open_stores(state)
    names = names_of(kind)
    model, x, y = fitted(kind)
    package = pack(
        model,
        signature(x, y, names, model),
        x.head(50),
        stores.artifacts,
        code="",
        environment="",
        reference=None,
    )
    now = system_clock()
    with stores.ledger.write() as db:
        db.execute(
            insert(models).values(name="score", features=names, per=[], definition={}, code="", updated=now)
        )
        db.execute(
            insert(model_versions).values(
                model="score",
                segment="",
                version=1,
                run=new_id(),
                package=package.to_json(),
                metrics={},
                rows_filter={},
                created=now,
            )
        )
        DeployStation(stores.ledger, system_clock).promote_many(db, [Promotion("score", (), 1, "benchmark")])
    stores.ledger.close()


def _run(uvicorn: Any, app: Any, port: int) -> None:
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", log_level="warning", access_log=False)


SERVERS = {"echo": serve_echo, "ours": serve_ours, "fastapi": serve_fastapi}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", choices=SERVERS, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--kind", choices=KINDS, required=True)
    args = parser.parse_args()
    SERVERS[args.serve](args.port, args.state, args.kind)


if __name__ == "__main__":
    main()
