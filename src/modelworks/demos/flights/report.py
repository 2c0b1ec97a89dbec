"""Was it worth it? The living factory beside the frozen models and no model, month by month."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from modelworks.core.ref import Segment
from modelworks.models import packaging
from modelworks.models.layout import to_batch
from modelworks.models.metrics import METRICS
from modelworks.models.package import Package
from modelworks.monitor.value import Payoff
from modelworks.stores.artifacts import Artifacts

Floats = npt.NDArray[np.float64]
ARMS = ("living", "frozen", "none")


@dataclass(frozen=True)
class Month:
    """One month of the replay.

    Attributes:
        month: ``"2013-03"``, or ``"all"``.
        flights: Flights that arrived.
        late: Share of them that came more than 15 minutes late.
        log_loss: By arm, in nats.
        auc: By arm.
        value: By arm, what acting on the answers was worth, in the payoff's unit.
    """

    month: str
    flights: int
    late: float
    log_loss: Mapping[str, float]
    auc: Mapping[str, float]
    value: Mapping[str, float]


def frozen_scores(flights: pl.DataFrame, february: Mapping[Segment, Package], artifacts: Artifacts) -> Floats:
    """What February's models would have said, shape (n,): each route's own, or its nearest parent's."""
    per = ["carrier", "origin", "dest"]
    answered = np.empty(len(flights))
    numbered = flights.with_row_index("row")
    for values, part in numbered.partition_by(per, as_dict=True).items():
        segment = tuple(str(value) for value in values)
        package = next(
            february[segment[:level]] for level in range(len(per), -1, -1) if segment[:level] in february
        )
        predictor = packaging.load(package, artifacts)
        answered[part["row"].to_numpy()] = predictor.predict(to_batch(part.to_pandas(), package.signature))[
            :, 1
        ]
    return answered


def months(flights: pl.DataFrame, scores: Mapping[str, Floats], payoff: Payoff) -> list[Month]:
    """Every month, and all of them together.

    Args:
        flights: Flights that arrived, with ``date`` and ``late``.
        scores: Probability of being late by arm, each of shape (n,).
        payoff: What an answer is worth.
    """
    month = flights["date"].dt.strftime("%Y-%m").to_numpy()
    late = flights["late"].to_numpy()
    found = []
    for name in [*np.unique(month).tolist(), "all"]:
        here = np.ones(len(month), bool) if name == "all" else month == name
        found.append(
            Month(
                name,
                int(here.sum()),
                float(late[here].mean()),
                {arm: _metric("log_loss", late[here], scores[arm][here]) for arm in ARMS},
                {arm: _metric("roc_auc", late[here], scores[arm][here]) for arm in ARMS},
                {arm: payoff.total(late[here], scores[arm][here]) for arm in ARMS},
            )
        )
    return found


def _metric(name: str, late: npt.NDArray[Any], score: Floats) -> float:
    return METRICS[name](late, np.stack([1 - score, score], axis=1), (0, 1))
