"""A model on its way to a server: what the run's process sends, and what the server makes of it.

A server reads no pickle that somebody sent it, unless its settings say so: reading one runs whatever is in it. A
flavor that keeps its models as data travels as it is; another one's model travels as the ONNX graph that was proven
on the sender's machine, and is proven again here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any

from sqlalchemy import select

from modelworks.core.clock import Clock
from modelworks.core.errors import Conflict, Denied, Invalid, NotFound
from modelworks.core.ref import check_name
from modelworks.registry.model_version import ModelVersion
from modelworks.stores import Stores
from modelworks.stores.ledger.tables import model_versions, runs
from modelworks.track.content import table
from modelworks.track.model import Logged, register

TARGET = "::target"
"""Column of the targets beside the example's; no feature is called so."""
_ROWS, _BYTES = 10_000, 256 * 1024 * 1024
"""Of an example, unpacked, at most."""


@dataclass(frozen=True)
class Offer:
    """What is sent of a model.

    Attributes:
        flavor: Name of the flavor that reads it.
        content: The model.
        signature: What it takes and gives, as data.
        rows: Example and targets, Parquet.
    """

    flavor: str
    content: bytes
    signature: dict[str, Any]
    rows: bytes


def offer(logged: Logged) -> Offer:
    """A model in a form that can be sent.

    Raises:
        Invalid: it cannot be packaged.
    """
    from modelworks.models import packaging
    from modelworks.models.flavors import flavor_of
    from modelworks.models.layout import to_batch

    takes, flavor = logged.signature(), flavor_of(logged.model)
    example = logged.example.head(_ROWS)
    columns = {name: example[name].to_numpy() for name in example.columns}
    targets = {} if logged.y is None else {TARGET: logged.y[: len(example)]}
    _, rows = table({**columns, **targets}, "rows")
    if flavor.pickled:
        asked = packaging.answered(logged.model, takes, to_batch(example, takes))
        graph, _ = packaging.proven(logged.model, takes, asked)
        if graph is not None:
            return Offer("onnx", graph, takes.to_json(), rows)
    return Offer(flavor.name, flavor.dump(logged.model, takes), takes.to_json(), rows)


def take(
    stores: Stores, clock: Clock, run: str, name: str, sent: Offer, *, pickles: bool = False
) -> ModelVersion:
    """Make a version of a model that a run of another machine has sent.

    Args:
        stores: Where to.
        clock: Gives the time.
        run: Id of the run.
        name: Name of the model.
        sent: The model.
        pickles: Whether pickles are read: only where everybody who may send one is trusted with this machine.

    Raises:
        NotFound: there is no such run.
        Conflict: the run has made a version already.
        Denied: it is a pickle.
        Invalid: it cannot be read, or does not answer its example.
    """
    from modelworks.models.flavors import FLAVORS
    from modelworks.models.formats.file import survived
    from modelworks.models.signature import Signature

    origin = _origin(stores, run)
    flavor = FLAVORS[sent.flavor]
    if flavor.pickled and not pickles:
        raise Denied(
            f"a model of the flavor {flavor.name!r} that cannot be compiled is not taken by a server",
            "it is a pickle, and reading one runs whatever its sender put in",
            "log a model that compiles, or one kept as data (onnx, lightgbm, xgboost, pytorch); or have the server's "
            'operator set [server] pickles = "accept"',
        )
    try:
        takes = Signature.from_json(sent.signature)
    except (KeyError, TypeError, ValueError) as error:
        raise Invalid(
            "the model's signature cannot be read", f"{type(error).__name__}: {error}", ""
        ) from error
    if not flavor.pickled:
        survived(flavor.name, sent.content, f"the model {name!r}")
    example, y = _example(sent.rows)
    missing = [field.name for field in takes.inputs if field.name not in example.columns]
    if missing or not takes.inputs:
        raise Invalid(
            "the example lacks columns that the model takes", ", ".join(missing), "send rows with them"
        )
    logged = Logged(
        run, f"logged by run {origin['name']}", flavor.load(sent.content), check_name(name, "model name"),
        example, y, {name: value for name, value in origin["metrics"].items() if value is not None},
    )  # fmt: skip
    return register(stores, clock, logged, takes, (origin["source"] or {}).get("environment"))


def _origin(stores: Stores, run: str) -> Mapping[str, Any]:
    with stores.ledger.read() as db:
        found = db.execute(select(runs).where(runs.c.id == run)).mappings().one_or_none()
        made = db.scalar(select(model_versions.c.model).where(model_versions.c.run == run))
    if found is None:
        raise NotFound(f"there is no run {run[:80]!r}", "", "begin it first")
    if made is not None or found["kind"] != "experiment":
        raise Conflict(
            f"run {run} has made a model already", made or found["kind"], "start a run for each model"
        )
    return dict(found)


def _example(content: bytes) -> tuple[Any, Any]:
    """Rows and targets; what would unpack to more than is allowed is not unpacked."""
    import polars as pl
    import pyarrow.parquet as pq

    try:
        about = pq.read_metadata(BytesIO(content))
        size = sum(about.row_group(at).total_byte_size for at in range(about.num_row_groups))
        if not 0 < about.num_rows <= _ROWS or size > _BYTES:
            raise Invalid(
                "the example cannot be taken", f"{about.num_rows} rows, {size} bytes", f"up to {_ROWS} rows"
            )
        frame = pl.read_parquet(BytesIO(content)).to_pandas()
    except Invalid:
        raise
    except Exception as error:
        raise Invalid("the example is no Parquet", str(error)[:200], "") from error
    for column in frame.columns:
        if frame[column].dtype.kind not in "fiub":
            frame[column] = frame[column].astype(object)
    y = frame.pop(TARGET).to_numpy() if TARGET in frame.columns else None
    return frame, y


def told(version: ModelVersion) -> dict[str, Any]:
    """A version as plain data; `version_of` is the inverse."""
    return {**vars(version), "package": version.package.to_json()}


def version_of(data: Mapping[str, Any]) -> ModelVersion:
    """The inverse of `told`."""
    from modelworks.models.package import Package

    return ModelVersion(
        **{
            **data,
            "segment": tuple(data["segment"]),
            "package": Package.from_json(data["package"]),
            "created": datetime.fromisoformat(data["created"]),
        }
    )
