"""The command about what comes of a model: monitor."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modelworks.cli.door import Door
from modelworks.console import terminal as show


def register(app: typer.Typer) -> None:
    """Put the command into the application."""
    app.command("monitor")(monitor)


def monitor(
    context: typer.Context,
    model: str,
    segment: Annotated[str | None, typer.Option(help="Only this segment, for instance UA,EWR.")] = None,
    days: Annotated[int | None, typer.Option(help="How many days; 28, or 366 by month.")] = None,
    by: Annotated[str, typer.Option(help="day or month.")] = "day",
    joint: Annotated[
        bool, typer.Option("--joint", help="Whether all inputs together differ from the training.")
    ] = False,
    column: Annotated[
        str | None, typer.Option("--slice", help="A column: how good the answers were by its values.")
    ] = None,
) -> None:
    """Volume, drift and performance of a model over the last days."""
    door: Door = context.obj
    if column is not None:
        return _sliced(door, door.call("slices", model=model, column=column, segment=segment, days=days))
    if joint:
        return _jointly(door, door.call("joint_drift", model=model, segment=segment, days=days))
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


def _jointly(door: Door, told: dict[str, Any]) -> None:
    """What a domain classifier says of one segment."""
    if door.json:
        return show.raw(told)
    show.OUT.print(
        f"{show.cell(told['ref'])}: {told['rows_now']:,} rows of the last {told['days']} days beside "
        f"{told['rows_before']:,} rows of its training"
    )
    how = f"an AUC of {told['auc']:.3f} ± {2 * told['auc_error']:.3f}, where 0.5 is no difference"
    if not told["differs"]:
        show.OUT.print(f"  nothing tells them apart but chance ({how})")
        return show.hint("modelworks monitor MODEL")
    show.OUT.print(f"  [yellow]they can be told apart[/yellow] ({how}), by")
    show.table(
        "Inputs that give it away",
        ["input", "AUC without it#", "PSI by itself#"],
        [
            [one["name"], f"{told['auc'] - one['given_away']:.3f}", f"{one['psi']:.2f}"]
            for one in told["features"][:15]
        ],
    )
    if not told["shifted"]:
        show.OUT.print("  none has shifted by itself: they go together otherwise than before")
    return show.hint("modelworks monitor MODEL")


def _sliced(door: Door, told: dict[str, Any]) -> None:
    """How good the answers were by the values of a column."""
    if door.json:
        return show.raw(told)
    shown = told["slices"][:30]
    show.table(
        f"{told['model']} by {told['column']}, last {told['days']} days",
        [told["column"], "asked#", "outcomes#", "answered#", "came#", "loss#", "than others#"],
        [
            [
                one["name"] or "(missing)",
                one["rows"],
                one["labelled"],
                one["answered"],
                one["came"],
                one["loss"],
                _beside(one),
            ]
            for one in shown
        ],
        "nothing was answered in these days, or it was not observed yet; 'modelworks apply' does",
    )
    worse = [one["name"] or "(missing)" for one in told["slices"] if one["worse"]]
    if len(told["slices"]) > len(shown):
        show.OUT.print(f"  and {len(told['slices']) - len(shown)} more; --json shows all")
    if worse:
        show.OUT.print(
            f"  [yellow]worse than all others, and not by chance: {show.cell(', '.join(worse))}[/yellow]"
        )
    elif any(one["apart"] is not None for one in shown):
        show.OUT.print("  none is worse than all others by more than chance")
    elif shown:
        show.OUT.print("  too few outcomes to compare: it takes 50 of 7 days for each value")
    if worse:
        show.OUT.print("  the gate mw.Slices keeps a slice from getting worse by the next version")
    return show.hint(f"modelworks monitor {told['model']}")


def _beside(one: dict[str, Any]) -> str | None:
    """How much higher the loss of a slice is than that of all other rows, with its interval."""
    if one["apart"] is None:
        return None
    return f"{one['apart']:+.3f} ± {(one['high'] - one['low']) / 2:.3f}"


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
