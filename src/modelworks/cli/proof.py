"""Commands that prove: a version trained again."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modelworks.cli.door import Door
from modelworks.cli.upkeep import verified
from modelworks.console import terminal as show


def register(app: typer.Typer) -> None:
    """Put the commands into the application."""
    app.command("reproduce")(reproduce)


def reproduce(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(help="For instance delay@3 or 'delay[UA,EWR]@3'.")],
    here: Annotated[
        bool, typer.Option("--here", help="In the current environment, not in one made from the lock.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option(help="Difference between two answers that still is good enough.")
    ] = 0.0,
) -> None:
    """Train a version again from its lineage, in an environment of its own, and compare the answers."""
    door: Door = context.obj
    told = door.watched("reproduce", ref=ref, here=here, tolerance=tolerance)
    if door.json:
        show.raw(told)
    else:
        _shown(told)
        show.hint(f"modelworks lineage '{told['ref']}'")
    if told["verdict"] not in ("equal", "close"):
        raise typer.Exit(3)


_COLOUR = {"equal": "green", "close": "yellow"}


def _shown(told: dict[str, Any]) -> None:
    colour = _COLOUR.get(told["verdict"], "red")
    word = f"[{colour}]{told['verdict']}[/{colour}]"
    show.OUT.print(f"{show.cell(told['ref'])}: {word}: {show.cell(told['reason'])}", soft_wrap=True)
    for one in told["data"]:
        verified(one)
    for what in told["artifacts"]:
        show.OUT.print(f"[red]{show.cell(what)}[/red]", soft_wrap=True)
    if told["held_out"]:
        show.facts(
            [
                ("rows learned from", _same(told["rows"])),
                ("code", _same(told["code"])),
                ("model, byte for byte", _same(told["same_model"])),
                *((name, _course(*pair)) for name, pair in told["metrics"].items()),
                ("environment", told["environment"]["where"]),
            ]
        )
    for line in [*told["environment"].get("differences", []), *told["notes"]]:
        show.OUT.print(f"  [yellow]{show.cell(line)}[/yellow]", soft_wrap=True)
    took = ", ".join(f"{name} {show.seconds(value)}" for name, value in told["seconds"].items())
    show.OUT.print(f"[dim]{took}[/dim]")


def _same(value: bool | None) -> str:
    return "not known" if value is None else "the same" if value else "not the same"


def _course(then: float | None, now: float | None) -> str:
    return f"{show.cell(then)}, the same" if then == now else f"was {show.cell(then)}, is {show.cell(now)}"
