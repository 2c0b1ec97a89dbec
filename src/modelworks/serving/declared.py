"""A model as the ledger declares it, as far as serving needs it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from modelworks.core.schema import Field
from modelworks.deploy.holdout import Holdout
from modelworks.deploy.inputs import Inputs
from modelworks.deploy.log import Log
from modelworks.models.signature import Signature
from modelworks.stores.ledger.tables import datasets, models


@dataclass(frozen=True)
class Declared:
    """A model as the ledger declares it.

    Attributes:
        name: Name of the model.
        per: Columns that route.
        key: The dataset's key column, if any.
        time: The dataset's event-time column, if any.
        contract: The dataset's columns, and the features that are computed of them.
        dataset: Its name, if any.
        features: Those inputs of the model that are computed.
        holdout: The share of its traffic that it does not serve, if any.
        inputs: What is done with rows that hold what the training did not see.
        log: What of its answers is kept.
    """

    name: str
    per: tuple[str, ...]
    key: str | None = None
    time: str | None = None
    contract: tuple[Field, ...] = ()
    dataset: str | None = None
    features: tuple[str, ...] = ()
    holdout: Holdout | None = None
    inputs: Inputs = field(default_factory=Inputs)
    log: Log = field(default_factory=Log)

    def nullable(self, signatures: Iterable[Signature]) -> frozenset[str]:
        """The columns that may be missing: by the contract, and the inputs of what answers, if that is not refused."""
        mine = frozenset(one.name for one in self.contract if one.nullable)
        if self.inputs.missing == "reject":
            return mine
        return mine.union(one.name for signature in signatures for one in signature.inputs)

    @property
    def sensitive(self) -> frozenset[str]:
        """The columns whose values are not logged."""
        return frozenset(one.name for one in self.contract if one.sensitive)


def declared_models(db: Connection, name: str | None = None) -> dict[str, Declared]:
    """Every model that is declared, or one, by name."""
    d, m = datasets.c, models.c
    query = select(
        m.name,
        m.per,
        m.features,
        m.definition,
        d.key,
        d.time,
        d.contract,
        d.features.label("computed"),
        m.dataset,
    )
    if name is not None:
        query = query.where(m.name == name)
    found = {}
    for row in db.execute(query.join(datasets, d.name == m.dataset, isouter=True)):
        computed = row.computed or {}
        fields = (*_fields(row.contract), *_fields(computed))
        features = tuple(name for name in row.features if name in computed)
        told = row.definition
        found[row.name] = Declared(
            row.name, tuple(row.per), row.key, row.time, fields, row.dataset, features,
            Holdout.from_json(told.get("control")), Inputs.from_json(told.get("inputs")),
            Log.from_json(told.get("log")),
        )  # fmt: skip
    return found


def _fields(contract: Any) -> Iterable[Field]:
    """The columns of a stored contract: a list of fields, or fields by name."""
    entries = (
        contract.items() if isinstance(contract, dict) else [(one.get("name"), one) for one in contract or ()]
    )
    for name, entry in entries:
        if isinstance(entry, dict) and "kind" in entry:
            yield Field.from_json({"name": name} | {key: entry[key] for key in entry if key != "how"})
