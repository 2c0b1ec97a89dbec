"""Commands about what is served: monitor, alerts, decisions, why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from modelworks.cli.door import Door
from modelworks.console import terminal as show

_SAID = 10
"""Rollouts whose reason is told below the table."""

_WIDE = 120
"""Columns of a terminal in which a table may say more."""

Model = Annotated[str | None, typer.Argument(help="Only this model.")]

Whole = Annotated[bool, typer.Option("--incident", help="All alerts of its incident.")]
Alert = Annotated[int, typer.Argument(help="Its number; 'modelworks alerts' has it.")]

Since = Annotated[str | None, typer.Option(help="Only from this time on, or of the last '2h'.")]
Until = Annotated[str | None, typer.Option(help="Only before this time, or before the last '2h'.")]


def register(app: typer.Typer) -> None:
    """Put the commands into the application."""
    for command in (
        status, predictions, rollouts, monitor, alerts, incidents, acknowledge, snooze, resolve, notify, decisions,
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
            ("decisions", ", ".join(f"{k} {v:,}" for k, v in told["decisions"].items())),
            *((f"training {one['model']}", _how_far(one)) for one in told["training"][:5]),
        ]
    )
    return show.hint("modelworks plan")


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
    limit: int = 20,
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
            [r["id"], r["model"], r["segment"], r["version"], r["output"], show.when(r["time"])]
            + [show.flags(r[name]) if name == "flags" else r[name] for name in some]
            for r in rows
        ],
    )
    return show.hint("modelworks why ID")


def rollouts(context: typer.Context, model: Model = None, limit: int = 20) -> None:
    """Rollouts: what is on its way, what was seen of both sides, and how others ended."""
    door: Door = context.obj
    rows = door.call("rollouts", model=model, limit=limit)
    if door.json:
        return show.raw(rows)
    show.table(
        "Rollouts, those that go on first",
        ["challenger", "against#", "how", "share", "rows#", "failed#", "loss", "", "when"],
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
        show.OUT.print(f"  {show.cell(r['ref'])}: {show.cell(r['reason'])}")
    return show.hint("modelworks rollback REF (abandons one), modelworks promote REF (ends it early)")


def _side(evidence: dict[str, Any]) -> list[Any]:
    """What was seen of a challenger, its loss beside the champion's."""
    one, other = evidence.get("challenger"), evidence.get("champion")
    if not one or not other:
        return [None, None, None]
    both = [f"{side['loss']:.3f}" if side["loss"] is not None else "-" for side in (one, other)]
    failed = one["failed"] + one["rejected"]
    return [one["rows"], failed, " against ".join(both) if one["outcomes"] else None]


def monitor(
    context: typer.Context,
    model: str,
    segment: Annotated[str | None, typer.Option(help="Only this segment, for instance UA,EWR.")] = None,
    days: Annotated[int | None, typer.Option(help="How many days; 28, or 366 by month.")] = None,
    by: Annotated[str, typer.Option(help="day or month.")] = "day",
) -> None:
    """Volume, drift and performance of a model over the last days."""
    door: Door = context.obj
    told = door.call("monitor", model=model, segment=segment, days=days, by=by)
    if door.json:
        return show.raw(told)
    show.table(
        f"{model}, by {by}",
        [by, "predictions#", "with outcome#", "mean#", "loss#", "expected#", "AUC#", "expected#"],
        [
            [
                d["day"][: 10 if by == "day" else 7],
                d["rows"],
                d["labelled"],
                d["output_mean"],
                d["loss"],
                _about(d, "loss"),
                d["auc"],
                _about(d, "auc"),
            ]
            for d in told["days"]
        ],
        "nothing was observed yet; 'modelworks apply' does",
    )
    _honest(told["expected"])
    if told["days"]:
        show.OUT.print(f"  {_outcomes(told['outcomes'])}")
    show.table(
        "Champions with the most predictions",
        ["segment", "version#", "predictions#", "loss#", "expected#", "at validation#", "what drives it"],
        [
            [
                c["segment"] or "(all)",
                c["version"],
                c["rows"],
                c["loss"],
                c["expected_loss"],
                c["promised"],
                ", ".join(_driver(name, c["effects"].get(name)) for name in c["shifted"]),
            ]
            for c in told["champions"][:15]
        ],
    )
    if told["champions"] and told["reference"] != "training":
        show.OUT.print(f"  {_compared(told['reference'], [c['reference'] for c in told['champions']])}")
    if told["checkpoints"]:
        show.table(
            "Learned from outcomes; the loss of each row is from before it was learned",
            ["until", "segment", "version#", "outcomes#", "loss#", "champion's#"],
            [
                [show.when(c["received"]), c["segment"] or "(all)", c["version"], c["rows"], c["loss"],
                 c["champion_loss"]]
                for c in told["checkpoints"][:15]
            ],
        )  # fmt: skip
    return show.hint("modelworks alerts, modelworks decisions")


def _compared(asked: str, found: list[str]) -> str:
    """What inputs are compared with, one line."""
    than = {"trailing": "what was answered on the days before", "seasonal": "what was answered a year before"}
    fell_back = sum(one != asked for one in found)
    but = (
        f"; {fell_back} of {len(found)}, which did not answer then, with their training" if fell_back else ""
    )
    return f"compared with {than[asked]}{but}"


def _driver(name: str, effect: float | None) -> str:
    """A feature that has shifted, and by how much that moves the answers, where it is known."""
    return name if effect is None else f"{name} {effect:+.2g}" if effect else f"{name} ±0"


def _about(span: dict[str, Any], what: str) -> str | None:
    """What was expected, with two standard errors."""
    value, error = span[f"expected_{what}"], span[f"expected_{what}_error"]
    return None if value is None or error is None else f"{value:.3f} ± {2 * error:.3f}"


def _honest(told: dict[str, Any]) -> None:
    """Whether what was expected is what came."""
    if told["trusted"] is None:
        return
    off = told["measured"] - told["expected"]
    show.OUT.print(
        f"  {told['rows']:,} outcomes have come: the loss was expected to be {told['expected']:.3f}, "
        f"it is {told['measured']:.3f}"
    )
    if told["trusted"]:
        show.OUT.print(f"  that is chance ({abs(off) / told['error']:.1f} standard errors)")
    else:
        show.OUT.print(
            f"  [yellow]that is no chance ({abs(off) / told['error']:.1f} standard errors): the same answers mean "
            "something else than at validation[/yellow]"
        )


def _outcomes(told: dict[str, Any]) -> str:
    """How the truth came, one line."""
    odd = {
        "told again": told["repeated"],
        "corrected": told["corrected"],
        "by a clock that is ahead": told["ahead"],
        "of days before what was predicted": told["before"],
    }
    some = "".join(f", {number:,} {what}" for what, number in odd.items() if number)
    late = told["lag_days"]
    until = (
        "how late the truth usually comes is not known yet"
        if late is None
        else "days are complete at once"
        if late <= 0
        else f"days are complete after {late * 24:.0f} hours"
        if late < 2
        else f"days are complete after {late:.0f} days"
    )
    return f"{told['labelled']:,} of {told['rows']:,} have an outcome{some}; {until}"


def alerts(
    context: typer.Context,
    model: Model = None,
    all: Annotated[bool, typer.Option(help="Closed ones too.")] = False,
    incident: Annotated[int | None, typer.Option(help="Only those of this incident.")] = None,
) -> None:
    """What somebody should know."""
    door: Door = context.obj
    rows = door.call("alerts", model=model, open_only=not all, incident=incident)
    if door.json:
        return show.raw(rows)
    seen = ["seen by"] if any(r["acknowledged_by"] for r in rows) else []
    show.table(
        "Alerts",
        ["id", "opened", *(["closed"] if all else []), "model", "kind", "message", *seen],
        [
            [r["id"], show.when(r["opened"]), *([show.when(r["closed"])] if all else []), r["model"], r["kind"],
             r["message"], *(r["acknowledged_by"] for _ in seen)]
            for r in rows
        ],
        "none",
    )  # fmt: skip
    return show.hint("modelworks monitor MODEL, modelworks acknowledge ID, modelworks snooze ID 2d")


def incidents(
    context: typer.Context,
    all: Annotated[bool, typer.Option(help="Those that are over too.")] = False,
) -> None:
    """Alerts of one cause, taken together."""
    door: Door = context.obj
    rows = door.call("incidents", open_only=not all)
    if door.json:
        return show.raw(rows)
    seen = ["seen by"] if any(r["acknowledged_by"] for r in rows) else []
    show.table(
        "Incidents",
        ["id", "since", *(["until"] if all else []), "models#", "alerts#", "what", *seen],
        [
            [r["id"], show.when(r["opened"]), *([show.when(r["closed"])] if all else []), len(r["models"]),
             len(r["alerts"]), r["message"], *(r["acknowledged_by"] for _ in seen)]
            for r in rows
        ],
        "none",
    )  # fmt: skip
    return show.hint("modelworks alerts --incident ID, modelworks acknowledge ID --incident")


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
    show.OUT.print(f"{show.cell(told['message'])}{more}: {_MARKED[verb](told)}")
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


def decisions(context: typer.Context, model: Model = None, limit: int = 20) -> None:
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


def why(context: typer.Context, prediction_id: str) -> None:
    """From a prediction back to rows, code, environment, gate and decision."""
    door: Door = context.obj
    told = door.call("why", prediction_id=prediction_id)
    if door.json:
        return show.raw(told)
    show.OUT.print(show.why_tree(told))
    return show.hint(f"modelworks lineage '{told['model_version']['ref']}'")


def audit(context: typer.Context, limit: int = 20) -> None:
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
