"""From sketches of many champions to what can be said of each, all judged together. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.core.measure import FEATURE_BINS, OUTPUT_BINS
from modelworks.core.ref import parse_segment
from modelworks.monitor.fleet import Between, decay, shift
from modelworks.monitor.performance import binned_auc, clustered_error, mean_loss
from modelworks.monitor.sketch import Sketches, Spread
from modelworks.monitor.watch import Watch, finite
from modelworks.monitor.window import Key, Known

_BINS = max(FEATURE_BINS, OUTPUT_BINS)


def judge(
    known: Mapping[Key, Known], sketches: Sketches, spread: Spread, places: Mapping[Key, int]
) -> list[Watch]:
    """Watches of champions that have the same number of features.

    Args:
        known: The champions.
        sketches: What they answered.
        spread: How much their days differ.
        places: Where each stands in `sketches` and `spread`.
    """
    if not known:
        return []
    at = np.array([places[key] for key in known])
    sums, counts = sketches.sums[at], sketches.counts
    references = [entry.reference for entry in known.values()]
    # One family of tests: every feature of every champion, and every champion's output.
    compared = shift(
        _together(
            np.stack([one.features for one in references]), np.stack([one.outputs for one in references])
        ),
        _together(counts.features[at], counts.outputs[at].sum(axis=1)),
        Between(spread.windows[at][:, None], _together(spread.features[at], spread.outputs[at])),
    )
    loss, error = mean_loss(sums)
    error = np.fmax(error, clustered_error(sums, spread.windows[at], spread.loss[at]))
    promised = np.array([entry.promised for entry in known.values()])
    there = np.array([one.rows for one in references])
    with np.errstate(invalid="ignore", divide="ignore"):
        promised_error = error * np.sqrt(sums[:, 1] / there)
    worse, lasting = decay(loss, error, sums[:, 1], promised, promised_error)
    auc = binned_auc(counts.outputs[at])
    watches = []
    effects, alarms, lastings = (
        np.round(compared.effect, 4).tolist(),
        compared.alarm.tolist(),
        compared.lasting.tolist(),
    )
    for place, ((segment, version), entry) in enumerate(known.items()):
        names = entry.features
        effect = effects[place]
        rows = sums[place, 0]
        watches.append(
            Watch(
                segment=parse_segment(segment),
                version=version,
                rows=int(rows),
                labelled=int(sums[place, 1]),
                output_mean=float(sums[place, 2] / rows) if rows else None,
                loss_kind="squared_error" if entry.signature.task == "regression" else "log_loss",
                loss=finite(loss[place]),
                loss_error=finite(error[place]),
                promised=finite(promised[place]),
                promised_error=finite(promised_error[place]),
                auc=finite(auc[place]),
                psi={
                    name: round(value, 4)
                    for name, value in zip(names, effect, strict=False)
                    if value == value
                },
                output_psi=effect[-1] if effect[-1] == effect[-1] else None,
                shifted=tuple(name for name, flag in zip(names, alarms[place], strict=False) if flag),
                output_shifted=alarms[place][-1],
                decayed=bool(worse[place]),
                shifting=tuple(name for name, flag in zip(names, lastings[place], strict=False) if flag),
                output_shifting=lastings[place][-1],
                decaying=bool(lasting[place]),
            )
        )
    return watches


def _together(features: npt.NDArray[Any], outputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Features and outputs in one array, the output last: (models, features + 1, bins)."""
    joined = np.zeros((len(features), features.shape[1] + 1, _BINS), features.dtype)
    joined[:, :-1, :FEATURE_BINS] = features
    joined[:, -1, :OUTPUT_BINS] = outputs
    return joined
