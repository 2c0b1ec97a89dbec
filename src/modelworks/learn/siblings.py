"""Whether what one segment shows has come over its siblings too, who are too small to say so by themselves. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from modelworks.core.ref import Segment
from modelworks.learn.triggers.on_decay import OnDecay
from modelworks.learn.triggers.on_drift import OnDrift
from modelworks.learn.triggers.port import Firing, SegmentState, Trigger

Doubles = npt.NDArray[np.float64]


def shared(
    triggers: Sequence[Trigger], states: Sequence[SegmentState], fired: dict[Segment, list[Firing]]
) -> dict[Segment, Firing]:
    """The live segments that have no reason of their own, but share that of a sibling.

    Args:
        triggers: Of the policy.
        states: Of all segments.
        fired: What the triggers said of those that have a reason.

    Returns:
        The reasons; of decay where the loss of all siblings, taken together, says so of each, of drift where the
        features that have shifted at a sibling have shifted half as far here, by the limits that keep an alarm open.
    """
    families: dict[Segment, list[SegmentState]] = defaultdict(list)
    for state in states:
        if state.live and state.segment:
            families[state.segment[:-1]].append(state)
    found: dict[Segment, Firing] = {}
    for family in families.values():
        begun = [state for state in family if fired.get(state.segment)]
        others = [state for state in family if not fired.get(state.segment) and state.new_rows]
        if not begun or not others:
            continue
        for trigger in triggers:
            if isinstance(trigger, OnDecay):
                found |= _decay(trigger, family, others, fired)
            elif isinstance(trigger, OnDrift):
                found |= _drift(trigger, begun, others, fired)
    return found


def _decay(
    trigger: OnDecay,
    family: Sequence[SegmentState],
    others: Sequence[SegmentState],
    fired: dict[Segment, list[Firing]],
) -> dict[Segment, Firing]:
    told = [state for state in family if trigger.differs(state) is not None]
    if not any(firing.trigger == "on_decay" for one in told for firing in fired.get(one.segment, ())):
        return {}
    worse, errors = np.array([trigger.differs(state) for state in told], np.float64).T
    mean, spread = shrunk(worse, errors)
    wanted = {state.segment for state in others}
    return {
        state.segment: Firing(
            "siblings",
            f"its siblings are worse than at validation, and so is it: {value:.3f} a row in their light, over "
            f"{state.labelled} outcomes",
            {"worse": float(value), "standard_error": float(error), "siblings": len(told) - 1},
            float(value) / trigger.least(state.promised or 0.0),
        )
        for state, value, error in zip(told, mean.tolist(), spread.tolist(), strict=True)
        if state.segment in wanted
        and value >= trigger.least(state.promised or 0.0)
        and value > trigger.sigmas * error
    }


def shrunk(values: Doubles, errors: Doubles) -> tuple[Doubles, Doubles]:
    """What each of some values is in the light of all: drawn to their mean as far as its error is large.

    Args:
        values: Shape (n,).
        errors: Their standard errors.

    Returns:
        Means and standard errors, shape (n,): of a normal prior whose mean and variance are taken from the values.

    Source: DerSimonian and Laird, Controlled Clinical Trials 7 (1986), for the variance between; Morris, Parametric
    Empirical Bayes Inference, Journal of the American Statistical Association 78 (1983), for the means and their
    errors, with what is uncertain of the common mean and of the variance between; never more than each by itself.
    """
    weights = 1 / np.square(errors)
    common = np.average(values, weights=weights)
    excess = float((weights * np.square(values - common)).sum()) - (len(values) - 1)
    scale = float(weights.sum() - np.square(weights).sum() / weights.sum())
    between = max(excess / scale, 0.0) if scale > 0 else 0.0
    weights = 1 / (np.square(errors) + between)
    common = np.average(values, weights=weights)
    drawn = np.square(errors) / (np.square(errors) + between)
    mean = drawn * common + (1 - drawn) * values
    variance = (1 - drawn) * np.square(errors) + np.square(drawn) / weights.sum()
    apart = 2 / max(len(values) - 3, 1) * np.square(drawn * (values - common))
    return mean, np.sqrt(np.minimum(variance + apart, np.square(errors)))


def _drift(
    trigger: OnDrift,
    begun: Sequence[SegmentState],
    others: Sequence[SegmentState],
    fired: dict[Segment, list[Firing]],
) -> dict[Segment, Firing]:
    moved: set[str] = set()
    for state in begun:
        for firing in fired[state.segment]:
            if firing.trigger == "on_drift":
                moved |= firing.evidence["psi"].keys()
    found = {}
    for state in others:
        here = {name: state.psi[name] for name in sorted(moved & set(state.shifting))}
        here = {name: value for name, value in here.items() if value >= trigger.psi / 2}
        if moved and len(here) >= trigger.features:
            named = ", ".join(f"{name} (PSI {value:.2f})" for name, value in list(here.items())[:3])
            reason = f"what has shifted at its siblings has shifted here too, not as far: {named}"
            need = sorted(here.values())[-trigger.features] / trigger.psi if trigger.psi else 1.0
            found[state.segment] = Firing("siblings", reason, {"psi": here}, need)
    return found
