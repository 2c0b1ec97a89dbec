"""Signatures, references and promised losses of model versions, read once: a version never changes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Set
from itertools import islice

import numpy as np
from sqlalchemy import select

from modelworks.core.batch import Batch
from modelworks.core.measure import Reference
from modelworks.models.package import Package
from modelworks.models.signature import Signature
from modelworks.monitor.window import Key, Known
from modelworks.serving.declared import declared_models
from modelworks.stores import Stores
from modelworks.stores.artifacts import Artifacts
from modelworks.stores.ledger.portable import chunks
from modelworks.stores.ledger.tables import model_versions

_MOST = 50_000
"""Versions that are kept in memory: of a fleet that is trained each day there would be ever more."""


class Versions:
    """Versions by model, segment text and number; those that were asked for last are in memory.

    Args:
        stores: Packages in the ledger, references among the artifacts.
        most: How many are kept in memory.
    """

    def __init__(self, stores: Stores, most: int = _MOST) -> None:
        self.stores = stores
        self.most = most
        self._known: dict[tuple[str, str, int], Known] = {}
        self._guard = threading.Lock()

    def of(self, model: str, keys: Iterable[Key]) -> dict[Key, Known]:
        """Those of `keys` that are registered, in the order of `keys`.

        Raises:
            NotFound: an artifact is missing.
            Invalid: an artifact is damaged.
        """
        wanted = list(dict.fromkeys(keys))
        with self._guard:
            found = {key: self._known[model, *key] for key in wanted if (model, *key) in self._known}
        missing = set(wanted) - found.keys()
        if missing:
            found |= self._read(model, missing)
        with self._guard:
            for key, entry in found.items():
                self._known.pop((model, *key), None)
                self._known[model, *key] = entry
            for oldest in list(islice(self._known, max(len(self._known) - self.most, 0))):
                del self._known[oldest]
        return {key: found[key] for key in wanted if key in found}

    def _read(self, model: str, missing: Set[Key]) -> dict[Key, Known]:
        columns = (model_versions.c.segment, model_versions.c.version)
        query = select(*columns, model_versions.c.package, model_versions.c.metrics)
        query = query.where(model_versions.c.model == model)
        numbers = [version for _, version in missing]
        query = query.where(columns[1].between(min(numbers), max(numbers)))
        found: dict[Key, Known] = {}
        with self.stores.ledger.read() as db:
            declared = declared_models(db, model).get(model)
            unseen = frozenset() if declared is None else declared.sensitive
            for segments in chunks(sorted({segment for segment, _ in missing})):
                for segment, version, package, metrics in db.execute(query.where(columns[0].in_(segments))):
                    if (segment, version) in missing:
                        found[segment, version] = known_of(
                            Package.from_json(package), metrics, unseen, self.stores.artifacts
                        )
        return found


def known_of(
    package: Package, metrics: Mapping[str, float | None], unseen: frozenset[str], artifacts: Artifacts
) -> Known:
    """What must be known of a version.

    Args:
        package: The version's.
        metrics: Its values at validation.
        unseen: See `Known`.
        artifacts: Where its reference is.

    Raises:
        NotFound: an artifact is missing.
        Invalid: an artifact is damaged.
    """
    if package.reference is None:
        reference = _empty(package.signature)
    else:
        reference = Reference.from_bytes(artifacts.get(package.reference))
    return Known(package.signature, reference, _promised(package.signature, metrics), unseen)


def _empty(signature: Signature) -> Reference:
    """Of a version that came without: its rows are counted, but nothing can be said of a shift."""
    none = Batch(
        np.empty((0, len(signature.numbers)), np.float32), np.empty((0, len(signature.texts)), dtype=object)
    )
    return Reference.build(none, np.empty(0), probabilities=bool(signature.classes))


def _promised(signature: Signature, metrics: Mapping[str, float | None]) -> float:
    """The loss at validation: log loss, or the square of the RMSE; NaN where it was not measured."""
    if signature.task == "regression":
        rmse = metrics.get("rmse")
        return float("nan") if rmse is None else rmse**2
    value = metrics.get("log_loss")
    return float("nan") if value is None else value
