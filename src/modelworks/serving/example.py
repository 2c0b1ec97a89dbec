"""A request that a live model answers as it is, and what such an answer looks like: for people to begin with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelworks.core.ref import Segment, segment_text
from modelworks.core.schema import Field, Kind
from modelworks.models.signature import Signature
from modelworks.serving.columns import Column
from modelworks.serving.fleet import Served
from modelworks.serving.replica import Replica

_VALUES: dict[Kind, Any] = {
    Kind.NUMBER: 0.5,
    Kind.INTEGER: 1,
    Kind.TEXT: "text",
    Kind.BOOL: True,
    Kind.TIME: "2026-01-05T10:15:00Z",
}


def example(served: Served, needs: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """A request and its answer.

    Args:
        served: A model with something live.
        needs: Columns that its computed features are computed from.
    """
    declared = served.declared
    segment: Segment = max(served.replicas, key=lambda one: (len(one), one))
    replica = served.replicas[segment]
    per = declared.per if len(declared.per) else ()
    known = {one.name: one for one in declared.contract}
    columns = served.rows(served.replicas.values(), per).columns
    # The deepest segment that is live; where rows go on below it, any value leads to it.
    said = dict(zip(per, segment, strict=False))
    row = {}
    for name, column in columns.items():
        if name in declared.features or (name in (declared.key, declared.time) and name not in per):
            continue
        row[name] = _routing(said[name], column) if name in said else _value(column.kinds[0], known.get(name))
    for name in needs:
        if name not in row and name in known:
            row[name] = _value(known[name].kind, known[name])
    answer = {
        "id": "01a2154528dd000008a1a561ff-0",
        "version": replica.version,
        "segment": segment_text(segment),
        "output": _output(replica),
    }
    return {"rows": [row]}, {"model": declared.name, "predictions": [answer]}


def schema(served: Served) -> dict[str, Any]:
    """The JSON schema of a request's body."""
    declared = served.declared
    return served.rows(served.replicas.values(), declared.per if len(declared.per) else ()).schema


def _routing(text: str, column: Column) -> Any:
    """A segment's value as the column holds it."""
    if not text and column.nullable:
        return None
    if Kind.TEXT in column.kinds:
        return text
    return text == "true" if Kind.BOOL in column.kinds else float(text)


def _value(kind: Kind, contract: Field | None) -> Any:
    """A value that the contract allows."""
    if contract is None:
        return _VALUES[kind]
    if contract.allowed:
        return contract.allowed[0]
    value = _VALUES[kind]
    if kind in (Kind.NUMBER, Kind.INTEGER):
        low, high = contract.min, contract.max
        if low is not None and value < low:
            value = low
        if high is not None and value > high:
            value = high
    return value


def _output(replica: Replica) -> Any:
    signature: Signature = replica.signature
    if signature.task == "multiclass":
        share = round(1 / len(signature.classes), 3)
        return {
            "label": signature.classes[0],
            "probabilities": {str(label): share for label in signature.classes},
        }
    return [] if signature.task == "other" else 0.5
