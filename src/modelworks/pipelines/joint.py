"""Whether what a model is asked about lately can be told from what it learned from, all inputs together."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelworks.core.duration import days_back
from modelworks.core.errors import NotReady
from modelworks.core.ref import Ref, parse_segment, segment_text
from modelworks.models.layout import to_batch
from modelworks.monitor.fleet import FALSE_ALARMS
from modelworks.monitor.joint import Rows, some
from modelworks.pipelines.context import Stations
from modelworks.pipelines.look_back import rows_of
from modelworks.train.segments import TIME

_DAY = 86_400_000_000
"""Microseconds."""


def joint(stations: Stations, name: str, segment: str | None, days: int | None) -> dict[str, Any]:
    """Compare the rows of a champion's training with those that its segment was asked about.

    Args:
        stations: The belt.
        name: Of the model.
        segment: Text of the segment; by default the one that was asked most.
        days: How many days are looked at.

    Raises:
        NotFound: the project has no such model; the rows of the training are not known, or not kept any more.
        NotReady: nothing was asked, or too little to tell.
        Invalid: it is no number of days.
    """
    stations.project.model(name)
    days = days_back(days)
    end = stations.monitor.looked_until(name)
    watches = stations.monitor.summary(name, end=end, days=days)
    if segment is not None:
        watches = [watch for watch in watches if watch.segment == parse_segment(segment)]
    if not watches:
        raise NotReady(
            f"{Ref(name, parse_segment(segment or ''))} was asked nothing in the last {days} days",
            "or that was not observed yet",
            "'modelworks apply' observes",
        )
    watch = max(watches, key=lambda one: one.rows)
    version = stations.registry.get(Ref(name, watch.segment, at=watch.version))
    with rows_of(stations, version) as (columns, begin, _):
        places = begin + some(len(columns.raw[TIME]) - begin)
        inputs = {one.name: columns.values(one.name, places) for one in version.package.signature.inputs}
        before = Rows(
            to_batch(inputs, version.package.signature), np.asarray(columns.raw[TIME][places]) // _DAY
        )
    key = (segment_text(watch.segment), watch.version)
    told = stations.monitor.together(name, key, before, end=end, days=days)
    features = zip(told.features, told.found.given_away, told.psi, strict=True)
    return {
        "ref": str(version.ref),
        "segment": key[0],
        "days": days,
        "rows_before": told.before,
        "rows_now": told.now,
        "auc": told.found.apart.auc,
        "auc_error": told.found.apart.error,
        "chance": told.found.apart.chance,
        "differs": told.found.apart.chance <= FALSE_ALARMS,
        "features": [
            {"name": one, "given_away": given_away, "psi": psi}
            for one, given_away, psi in sorted(features, key=lambda each: -each[1])
        ],
        "shifted": watch.shifted,
    }
