"""Alerts by a project's own rules, as code. Pure but for what a rule does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modelworks.core.errors import Invalid
from modelworks.core.ref import Ref, check_name
from modelworks.monitor.alerting import MANY, SEVERITIES, Finding, Severity
from modelworks.monitor.watch import Watch

RULE = "rule:"
"""What the kind of an alert by a rule begins with; its name follows."""
_LONGEST = 30
_SAID = 500
"""Characters of what a rule says that are kept."""

Rule = Callable[[Watch], str | None]


@dataclass(frozen=True)
class Alarm:
    """An alert by a rule of yours: ``mw.Alarm("busy", lambda seen: "too many" if seen.rows > 1e6 else None)``.

    The rule is asked at every look, of every champion that answered lately. What it says is the alert's message; the
    alert is closed at the first look at which it says nothing. One that many segments have is one alert of the model. A
    rule that raises is an alert too: it says that it could not be judged.

    Attributes:
        name: Of the alarm; the kind of its alerts is ``rule:NAME``.
        rule: A function of what is known of a champion, a `monitor.watch.Watch`, that says what is wrong, or ``None``.
        severity: ``"info"``, ``"warning"`` or ``"critical"``.

    Raises:
        Invalid: a name that cannot be, a rule that cannot be called, another severity.
    """

    name: str
    rule: Rule
    severity: Severity = "warning"

    def __post_init__(self) -> None:
        check_name(self.name, "name of an alarm")
        if len(self.name) > _LONGEST:
            raise Invalid(
                f"the name of the alarm {self.name!r} is too long", "", f"use up to {_LONGEST} characters"
            )
        if not callable(self.rule):
            raise Invalid(
                f"the rule of the alarm {self.name!r} is no function",
                "",
                "give a function of what is known of a champion",
            )
        if self.severity not in SEVERITIES:
            raise Invalid(
                f"the alarm {self.name!r} has the severity {self.severity!r}",
                "",
                f"use one of {', '.join(SEVERITIES)}",
            )


def findings(model: str, alarms: Sequence[Alarm], watches: Sequence[Watch]) -> list[Finding]:
    """What the alarms of a model say, at most one finding of an alarm for a segment.

    Args:
        model: Its name.
        alarms: Its alarms.
        watches: Its champions.
    """
    return [one for alarm in alarms for one in _asked(model, alarm, watches)]


def _asked(model: str, alarm: Alarm, watches: Sequence[Watch]) -> list[Finding]:
    kind, found = f"{RULE}{alarm.name}", []
    for watch in watches:
        try:
            said = alarm.rule(watch)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"[:_SAID]
            message = f"the alarm {alarm.name} of {model} cannot be judged: {why}"
            return [Finding((), kind, alarm.severity, message, {"version": watch.version})]
        if said:
            message = f"{Ref(model, watch.segment)}: {str(said)[:_SAID]}"
            found.append(Finding(watch.segment, kind, alarm.severity, message, {"version": watch.version}))
    if len(found) < MANY:
        return found
    evidence = {"segments": len(found), "of": len(watches)}
    message = (
        f"{len(found)} of {len(watches)} segments of {model}: {alarm.name}; for instance {found[0].message}"
    )
    return [Finding((), kind, alarm.severity, message, evidence)]
