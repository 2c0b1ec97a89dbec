"""Commands about what is served: predictions, rollouts, alerts, decisions, why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from modelworks.cli.arguments import Limit, Model
from modelworks.cli.door import Door
from modelworks.console import terminal as show

_SAID = 10
"""Rollouts whose reason is told below the table."""

_WIDE = 120
"""Columns of a terminal in which a table may say more."""


Whole = Annotated[bool, typer.Option("--incident", help="All alerts of its incident.")]
Alert = Annotated[int, typer.Argument(help="Its number; 'modelworks alerts' has it.")]

Since = Annotated[str | None, typer.Option(help="Only from this time on, or of the last '2h'.")]
Until = Annotated[str | None, typer.Option(help="Only before this time, or before the last '2h'.")]


def register(app: typer.Typer) -> None:
    """Put the commands into the application."""
    for command in (
        status, predictions, rollouts, alerts, incidents, acknowledge, snooze, resolve, notify, decisions,
        why, audit,
    ):  # fmt: skip
        app.command(command.__name__)(command)


def status(context: typer.Context) -> None:
    """The factory at a glance."""
    door: Door = context.obj
    told = door.call("status")
    if door.json:
        return show.raw(told)
    show.facts(
        [
            ("project", told["root"]),
            ("models live", told["live"]),
            ("versions", told["versions"]),
            ("open alerts", told["alerts"]),
            ("waits for a person", told["waiting"] or None),
            ("decisions", ", ".join(f"{k} {v:,}" for k, v in told["decisions"].items())),
            *((f"training {one['model']}", _how_far(one)) for one in told["training"][:5]),
        ]
    )
    return show.hint(_next(told))


def _next(told: dict[str, Any]) -> str:
    """What wants a person first."""
    if told["waiting"]:
        return "modelworks approve   (says what waits)"
    return "modelworks incidents" if told["alerts"] else "modelworks plan"


def _how_far(going: dict[str, Any]) -> str:
    """How much of a training is done, and how long the rest takes."""
    done = f"{going['done']:,} of {going['total']:,} segments" if going["total"] else "begun"
    if going["stopped"]:
        return f"{done}, was stopped; 'modelworks train {going['model']}' goes on with it"
    if not going["running"]:
        return f"{done}, was cut off; the next turn goes on with it, or 'modelworks apply'"
    return done if going["left"] is None else f"{done}, about {show.seconds(going['left'])} left"


def predictions(
    context: typer.Context,
    model: Model = None,
    limit: Limit = 20,
    since: Since = None,
    until: Until = None,
    caller: Annotated[str | None, typer.Option(help="Only what the token of this name asked for.")] = None,
    request: Annotated[str | None, typer.Option(help="Only what came with this X-Request-Id.")] = None,
) -> None:
    """The newest predictions."""
    door: Door = context.obj
    rows = door.call(
        "predictions",
        model=model,
        limit=limit,
        since=since,
        until=until,
        caller=caller,
        request=request,
    )
    if door.json:
        return show.raw(rows)
    wide = ("caller", "request") if show.OUT.width >= _WIDE else ()
    some = [name for name in (*wide, "flags") if any(r[name] for r in rows)]
    show.table(
        "Predictions",
        ["id", "model", "segment", "version#", "output#", "when", *some],
        [
            [r["id"], r["model"], r["segment"], r["version"] or "held out", r["output"], show.when(r["time"])]
            + [show.flags(r[name]) if name == "flags" else r[name] for name in some]
            for r in rows
        ],
        "nothing yet" if not any((since, until, caller, request)) else "none is like that",
    )
    return show.hint(f"modelworks why {rows[0]['id']}" if rows else "modelworks status")


def rollouts(context: typer.Context, model: Model = None, limit: Limit = 20) -> None:
    """Rollouts: what is on its way, what was seen of both sides, and how others ended."""
    door: Door = context.obj
    rows = door.call("rollouts", model=model, limit=limit)
    if door.json:
        return show.raw(rows)
    show.table(
        "Rollouts, those that go on first",
        ["challenger", "against#", "how", "share", "rows#", "failed#", "loss", "state", "when"],
        [
            [
                r["ref"], r["champion"], r["strategy"]["kind"],
                f"{r['share']:.0%}{' silently' if r['silent'] and r['status'] == 'running' else ''}",
                *_side(r["evidence"]), r["status"], show.when(r["ended"] or r["since"]),
            ]
            for r in rows
        ],
        "none yet; see rollout= of @mw.model",
    )  # fmt: skip
    for r in rows[:_SAID]:
        show.note(f"{show.cell(r['ref'])}: {show.cell(r['reason'])}")
    going = [r["ref"] for r in rows if r["status"] == "running"]
    if not going:
        return show.hint("modelworks deploy REF --gradually")
    return show.hint(
        f"modelworks rollback '{going[0]}' (abandons it), modelworks promote '{going[0]}' (ends it early)"
    )


def _side(evidence: dict[str, Any]) -> list[Any]:
    """What was seen of a challenger, its loss beside the champion's."""
    one, other = evidence.get("challenger"), evidence.get("champion")
    if not one or not other:
        return [None, None, None]
    both = [f"{side['loss']:.3f}" if side["loss"] is not None else "-" for side in (one, other)]
    failed = one["failed"] + one["rejected"]
    return [one["rows"], failed, " against ".join(both) if one["outcomes"] else None]


def alerts(
    context: typer.Context,
    model: Model = None,
    all: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
    incident: Annotated[int | None, typer.Option(help="Only those of this incident.")] = None,
) -> None:
    """What somebody should know."""
    door: Door = context.obj
    rows = door.call("alerts", model=model, open_only=not all, incident=incident)
    if door.json:
        return show.raw(rows)
    seen = ["state"] if any(_state(r) for r in rows) else []
    show.table(
        "Alerts",
        ["id", "opened", *(["closed"] if all else []), "model", "kind", "message", *seen],
        [
            [r["id"], show.when(r["opened"]), *([show.when(r["closed"])] if all else []), r["model"], _kind(r),
             r["message"], *(_state(r) for _ in seen)]
            for r in rows
        ],
        "none",
    )  # fmt: skip
    if not rows:
        closed = f"modelworks alerts --incident {incident} --all   (closed ones too)"
        return show.hint("modelworks status" if all or incident is None else closed)
    one = rows[0]
    watched = "" if one["model"].startswith("dataset:") else f"modelworks monitor {one['model']}, "
    return show.hint(f"{watched}modelworks acknowledge {one['id']}, modelworks snooze {one['id']} 2d")


def _kind(alert: Mapping[str, Any]) -> str:
    kind: str = alert["kind"]
    return f"critical {kind}" if alert["severity"] == "critical" else kind


def _state(alert: Mapping[str, Any]) -> str:
    """Who looks after an alert, or until when nobody is told of it."""
    if alert["acknowledged_by"]:
        return f"seen by {alert['acknowledged_by']}"
    quiet = alert["snoozed"] and datetime.fromisoformat(alert["snoozed"]) > datetime.now(UTC)
    return f"quiet until {show.when(alert['snoozed'])}" if quiet else ""


def incidents(
    context: typer.Context,
    all: Annotated[bool, typer.Option("--all", help="Those that are over too.")] = False,
) -> None:
    """Alerts of one cause, taken together."""
    door: Door = context.obj
    rows = door.call("incidents", open_only=not all)
    if door.json:
        return show.raw(rows)
    seen = ["state"] if any(_state(r) for r in rows) else []
    show.table(
        "Incidents",
        ["id", "since", *(["until"] if all else []), "models#", "alerts#", "what", *seen],
        [
            [r["id"], show.when(r["opened"]), *([show.when(r["closed"])] if all else []), len(r["models"]),
             len(r["alerts"]), r["message"], *(_state(r) for _ in seen)]
            for r in rows
        ],
        "none",
    )  # fmt: skip
    if not rows:
        return show.hint("modelworks status")
    one = rows[0]["id"]
    return show.hint(f"modelworks alerts --incident {one}, modelworks acknowledge {one} --incident")


def acknowledge(context: typer.Context, alert: Alert, incident: Whole = False) -> None:
    """Say that you look after an alert."""
    _marked(context, "acknowledge", alert=alert, incident=incident)


def snooze(
    context: typer.Context,
    alert: Alert,
    lasting: Annotated[str, typer.Argument(help="For how long, for instance 4h.")] = "1d",
    incident: Whole = False,
) -> None:
    """Let nobody be told of an alert for a while."""
    _marked(context, "snooze", alert=alert, lasting=lasting, incident=incident)


def resolve(context: typer.Context, alert: Alert, incident: Whole = False) -> None:
    """Close an alert; what is still so opens another one."""
    _marked(context, "resolve", alert=alert, incident=incident)


def _marked(context: typer.Context, verb: str, **arguments: Any) -> None:
    door: Door = context.obj
    told = door.call(verb, **arguments)
    if door.json:
        return show.raw(told)
    more = f" and {told['alerts'] - 1} more of its incident" if told["alerts"] > 1 else ""
    show.OUT.print(f"alert {told['id']} of {show.cell(told['model'])}{more}: {_MARKED[verb](told)}")
    show.note(show.cell(told["message"]))
    return show.hint("modelworks alerts")


_MARKED: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "acknowledge": lambda told: f"{show.cell(told['acknowledged_by'])} looks after it",
    "snooze": lambda told: f"nobody is told until {told['snoozed'][:16].replace('T', ' ')} UTC",
    "resolve": lambda _told: "closed",
}


def notify(context: typer.Context) -> None:
    """Send a test message to every channel that alerts go to."""
    door: Door = context.obj
    told = door.call("test_channels")
    if door.json:
        show.raw(told)
    else:
        show.table(
            "Alerts go to",
            ["channel", "test"],
            [[name, why or "sent"] for name, why in told.items()],
            "nobody",
        )
        show.hint("alerts.webhook, alerts.slack or alerts.email in modelworks.toml, then modelworks alerts")
    if any(told.values()):
        raise typer.Exit(1)


def decisions(context: typer.Context, model: Model = None, limit: Limit = 20) -> None:
    """What the factory decided, and why."""
    door: Door = context.obj
    rows = door.call("decisions", model=model, limit=limit)
    if door.json:
        return show.raw(rows)
    show.table(
        "Decisions",
        ["when", "model", "segment", "action", "because"],
        [[show.when(r["at"]), r["model"], r["segment"] or "(all)", r["action"], r["reason"]] for r in rows],
    )
    return show.hint("modelworks plan")


def why(
    context: typer.Context,
    prediction_id: Annotated[
        str, typer.Argument(help="Its id: in the answer, or in 'modelworks predictions'.")
    ],
) -> None:
    """From a prediction back to rows, code, environment, gate and decision."""
    door: Door = context.obj
    told = door.call("why", prediction_id=prediction_id)
    if door.json:
        return show.raw(told)
    show.OUT.print(show.why_tree(told))
    return show.hint(f"modelworks lineage '{told['model_version']['ref']}'")


def audit(context: typer.Context, limit: Limit = 20) -> None:
    """Who did what."""
    door: Door = context.obj
    rows = door.call("audit", limit=limit)
    if door.json:
        return show.raw(rows)
    show.table(
        "Audit",
        ["when", "who", "did", "on"],
        [[show.when(r["at"]), r["who"], r["verb"], r["what"]] for r in rows],
    )
    return show.hint("modelworks decisions")
