"""Outcomes that do not come: not any more, or of other rows than those that have none. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from modelworks.core.ref import Ref, segment_text
from modelworks.monitor.alerting import Finding
from modelworks.monitor.fleet import FALSE_ALARMS
from modelworks.monitor.truths import Truths, lag_of
from modelworks.monitor.watch import Watch

_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_NAMED = 5


def findings(
    model: str, watches: Sequence[Watch], days: Sequence[Truths], now: datetime, *, lasting: bool = False
) -> list[Finding]:
    """All that there is to say.

    Args:
        model: Its name.
        watches: Its champions.
        days: How the truth came, in order.
        now: The moment.
        lasting: Judge by the easier limits that keep an open alert open.
    """
    return [*_silent(model, days, now), *_selective(model, watches, lasting)]


def _silent(model: str, days: Sequence[Truths], now: datetime) -> list[Finding]:
    """Outcomes used to come, and do not come any more.

    They are missed when nothing came for more than two days and twice as long as the longest pause so far, and of the
    rows whose outcome was due since then so many would usually have one that none at all is unlikely (Poisson). What
    is usual, pause, delay and share, is what was seen of this model, for more than a week.
    """
    came = sorted({one.last for one in days if one.last is not None})
    if not came or came[-1] - came[0] < _WEEK:
        return []
    pause = max(later - sooner for sooner, later in pairwise(came))
    if now - came[-1] <= max(2 * pause, 2 * _DAY):
        return []
    # As it was when they still came: what has not come since says nothing of how late they are.
    usual = lag_of([one for one in days if one.start < came[-1]], came[-1])
    if math.isinf(usual):
        return []
    due = [one.start + _DAY * (1 + max(usual, 0.0)) for one in days]
    before = [one for one, moment in zip(days, due, strict=True) if moment <= came[-1]]
    asked = sum(one.rows for one in before)
    share = sum(one.labelled for one in before) / asked if asked else 0.0
    since = [one for one, moment in zip(days, due, strict=True) if came[-1] < moment <= now]
    expected = sum(max(share * one.rows - one.labelled, 0.0) for one in since)
    if math.exp(-expected) > FALSE_ALARMS:
        return []
    message = (
        f"no outcomes of {model} come any more, the last on {came[-1]:%d %B %Y}: about {expected:,.0f} should have "
        f"come since then"
    )
    evidence = {
        "last": came[-1].isoformat(),
        "expected": expected,
        "share": share,
        "delay_days": max(usual, 0.0),
    }
    return [Finding((), "silent_outcomes", "critical", message, evidence)]


def _selective(model: str, watches: Sequence[Watch], lasting: bool) -> list[Finding]:
    """Rows that have an outcome got other answers than those that have none: the loss is of some rows, not of all."""
    some = [watch for watch in watches if (watch.selecting if lasting else watch.selective)]
    if not some:
        return []
    some.sort(key=lambda watch: -(watch.unlike or 0.0))
    if len(watches) == 1:
        whose = str(Ref(model, some[0].segment))
    else:
        named = ", ".join(segment_text(watch.segment) or "the global one" for watch in some[:_NAMED])
        whose = f"{len(some)} of {len(watches)} segments of {model} ({named})"
    message = (
        f"outcomes come of some answers of {whose} rather than of others: what is said of loss and AUC holds for those "
        f"alone, and so does what is learned from them"
    )
    evidence = {
        "segments": len(some),
        "of": len(watches),
        "psi": {segment_text(watch.segment): watch.unlike for watch in some[:_NAMED]},
    }
    return [Finding((), "selective_outcomes", "warning", message, evidence)]
