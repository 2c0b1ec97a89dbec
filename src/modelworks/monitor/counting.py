"""Counting what a model's predictions earn while its days are observed, and saying where they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime

import polars as pl
from sqlalchemy import Connection, func, select

from modelworks.core.errors import Invalid
from modelworks.monitor import earnings
from modelworks.monitor.alerting import Finding
from modelworks.monitor.earnings import Accounts, Earned
from modelworks.monitor.returns import ALPHA, Effect, effect
from modelworks.monitor.value import Value
from modelworks.monitor.window import Key, Known
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.tables import alerts, deployments

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class Counting:
    """One time that a model's days are counted.

    Args:
        ledger: Where it stands.
        model: Name of the model.
        value: What a row is worth; ``None`` where that is not known, and nothing is counted.
        by: See `monitor.earnings.earned`.

    Attributes:
        anew: Whether all days have to be counted: they never were, or by another rule.
    """

    def __init__(self, ledger: Ledger, model: str, value: Value | None, by: str | None) -> None:
        self.ledger = ledger
        self.model = model
        self.value = value
        self.by = by
        self.failure: Finding | None = None
        self.anew = False
        self._days: list[Earned] = []
        self._judged: list[tuple[Effect, int]] = []
        self._segments: list[Mapping[str, object]] = []
        if value is not None:
            with ledger.read() as db:
                self.failure = _failed(db, model, value.rule)
                self.anew = self.failure is None and earnings.counted_by(db, model) != value.rule

    def take(self, rows: pl.DataFrame, known: Mapping[Key, Known]) -> None:
        """Count whole days of rows from `monitor.window.joined`; after one that cannot be counted none is."""
        if self.value is None or self.failure is not None or not known:
            return
        signature = next(iter(known.values())).signature
        try:
            made = earnings.earned(rows, self.value, signature, self.by)
        except Invalid as error:
            # It is tried again when the rule is another one, or when somebody resolves the alert.
            message = f"what answers of {self.model} are worth cannot be told: {error.why}"
            evidence = {"rule": self.value.rule, "fix": error.fix}
            self.failure = Finding((), "value_unknown", "warning", message, evidence)
        else:
            self._days += made.days
            self._segments += made.segments

    def write(self) -> None:
        """Write what was counted, all in one."""
        if self.value is None or self.failure is not None or not self._days:
            return
        with self.ledger.write() as db:
            if self.anew:
                earnings.begin_anew(db, self.model)
            earnings.write(db, self.model, self.value.rule, Accounts(self._days, self._segments))

    def findings(self, now: datetime, *, lasting: bool = False) -> list[Finding]:
        """What there is to say.

        Args:
            now: The moment.
            lasting: Judge by the easier limits that keep an open alert open.
        """
        found = [] if self.failure is None else [self.failure]
        if self.value is None:
            return found
        for seen, models in self._effect(now):
            found += _costly(self.model, seen, self.value.unit, models, lasting)
        return found

    def _effect(self, now: datetime) -> list[tuple[Effect, int]]:
        """What all days say beside the holdout, if there is one, and how many models are judged; read once."""
        if not self._judged:
            with self.ledger.read() as db:
                days = earnings.read(db, self.model, _BEGINNING, now)
                models = db.scalar(select(func.count(deployments.c.model.distinct()))) or 1
            if any(one.control.n for one in days):
                self._judged.append((effect(days), models))
        return self._judged


def _costly(model: str, seen: Effect, unit: str, models: int, lasting: bool) -> list[Finding]:
    """A model whose answers are worth less than none; over all models together that is said in vain with `ALPHA`."""
    if seen.each is None or seen.low is None or seen.high is None:
        return []
    # The interval of one model, as wide as it is for all of them to hold together.
    wider = math.sqrt(1 + math.log(models) / math.log(1 / ALPHA))
    if seen.each + (0 if lasting else (seen.high - seen.each) * wider) >= 0:
        return []
    message = (
        f"answers of {model} cost more than they bring: one is worth {-seen.each:,.2f} {unit} less than a row of the "
        f"holdout ({-seen.high:,.2f} to {-seen.low:,.2f})"
    )
    evidence = {"each": seen.each, "low": seen.low, "high": seen.high, "rows": seen.rows, "held": seen.held}
    return [Finding((), "negative_value", "critical", message, evidence)]


def _failed(db: Connection, model: str, rule: str) -> Finding | None:
    """The open alert that this rule cannot be counted by."""
    mine = (alerts.c.model == model, alerts.c.kind == "value_unknown", alerts.c.closed.is_(None))
    for one in db.execute(select(alerts.c.message, alerts.c.evidence).where(*mine)):
        if one.evidence.get("rule") == rule:
            return Finding((), "value_unknown", "warning", one.message, one.evidence)
    return None
