"""What is known of every segment at the moment of a decision, put together. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.core.ref import Segment
from modelworks.learn.triggers.port import SegmentState
from modelworks.models.definition import Definition
from modelworks.monitor.watch import Watch


@dataclass(frozen=True)
class Attempt:
    """The last training of a segment, whatever came of it.

    Attributes:
        at: When.
        dataset_version: What it learned from.
        refused: How often in a row nothing has come of it, this one included.
        inputs: The datasets with their versions; nothing where that is not known.
        code: Digest of the definition; ``""`` where it is not known.
    """

    at: datetime
    dataset_version: int
    refused: int = 0
    inputs: Mapping[str, int] = field(default_factory=dict)
    code: str = ""


def states_of(
    definition: Definition,
    live: Collection[Segment],
    *,
    rows: Mapping[Segment, tuple[int, int]],
    attempts: Mapping[Segment, Attempt],
    watches: Sequence[Watch],
    now: datetime,
    losses: Mapping[Segment, npt.NDArray[np.float64]] | None = None,
    inputs: Mapping[str, int] | None = None,
) -> list[SegmentState]:
    """What is known of every segment that has a model, or rows enough for one.

    Args:
        definition: Of the model.
        live: Segments that have a champion.
        rows: Usable rows of each segment, all and new since its last training.
        attempts: The last training of each.
        watches: From the monitor.
        now: The moment of the decision.
        losses: See `SegmentState.losses`.
        inputs: The datasets that it learns from, with their newest versions; nothing if only rows change.
    """
    losses, inputs = losses or {}, inputs or {}
    seen = {watch.segment: watch for watch in watches}
    enough = {segment for segment, (total, _) in rows.items() if total >= definition.min_rows}
    found = []
    for segment in sorted({*live, *enough}):
        total, new = rows.get(segment, (0, 0))
        attempt = attempts.get(segment)
        state = SegmentState(
            segment=segment,
            now=now,
            live=segment in live,
            tried=None if attempt is None else attempt.at,
            rows=total,
            new_rows=new,
            min_rows=definition.min_rows,
            refused=0 if attempt is None else attempt.refused,
            losses=losses.get(segment),
            new_data={} if attempt is None else _changed(attempt.inputs, inputs),
            new_code=attempt is not None and attempt.code not in ("", definition.code),
            **_watched(seen.get(segment)),
        )
        found.append(state)
    return found


def _changed(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """What has another version now; nothing where it is not known what there was."""
    return {name: version for name, version in now.items() if before and before.get(name) != version}


def _watched(watch: Watch | None) -> dict[str, Any]:
    """What a state takes over from a watch; nothing where the champion has not answered yet."""
    if watch is None:
        return {}
    names = (
        "days",
        "labelled",
        "loss_kind",
        "loss",
        "loss_error",
        "promised",
        "promised_error",
        "shifted",
        "shifting",
        "psi",
    )
    return {"answered": watch.rows, **{name: getattr(watch, name) for name in names}}
