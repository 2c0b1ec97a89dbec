"""Commands that prove: where a thing comes from, what follows from it, a version trained again."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modelworks.cli.door import Door
from modelworks.cli.upkeep import verified
from modelworks.console import terminal as show
from modelworks.core.errors import Invalid


def register(app: typer.Typer) -> None:
    """Put the commands into the application."""
    for command in (lineage, impact, reproduce):
        app.command(command.__name__)(command)


def lineage(
    context: typer.Context,
    ref: Annotated[
        str,
        typer.Argument(
            help="flights@12, 'delay[UA,EWR]@3', the id of a run or a prediction, a node of a lineage; "
            "or the word export."
        ),
    ],
    down: Annotated[bool, typer.Option("--down/--up", help="What came of it, or what it came from.")] = False,
    depth: Annotated[int, typer.Option(help="Most steps to walk.")] = 6,
    to: Annotated[str, typer.Option(help="With export: a file or a URL that is told.")] = "",
    again: Annotated[
        bool, typer.Option("--again", help="With export: also what it was told before.")
    ] = False,
    wide: Annotated[int, typer.Option(help="Things of a kind that are shown beside each other.")] = 6,
) -> None:
    """What a thing was made from, or with --down what was made from it; export --to tells it to others."""
    door: Door = context.obj
    if ref == "export":
        return _export(door, to, again)
    told = door.call("lineage", ref=ref, direction="down" if down else "up", depth=depth)
    if door.json:
        return show.raw(told)
    show.OUT.print(show.lineage_tree(told, wide))
    if told["more"]:
        show.note(f"there is more: these are the nearest {len(told['edges']):,} edges")
    return show.hint(f"modelworks lineage '{ref}' {'--up' if down else '--down'}, modelworks impact REF")


def _export(door: Door, to: str, again: bool) -> None:
    if not to:
        raise Invalid("usage: lineage export tells nobody", "", "give --to FILE or --to URL")
    with door.factory() as factory:
        told = factory.export_lineage(to, again)
    if door.json:
        return show.raw(told)
    many = f"{told['events']:,} events"
    show.OUT.print(
        f"{many} told to {show.cell(told['to'])}" if told["events"] else "there is nothing new to tell"
    )
    return show.hint("[lineage] to = ... in modelworks.toml tells it as it happens")


def impact(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(help="A version of data or of a model: flights@12, delay@3.")],
    limit: Annotated[int, typer.Option(help="Versions that are named; all are counted.")] = 20,
) -> None:
    """What follows if a version of data or of a model is bad: who learned from it, is live, was answered."""
    door: Door = context.obj
    told = door.call("impact", ref=ref, limit=limit)
    if door.json:
        return show.raw(told)
    span = f", {told['first'][:10]} to {told['last'][:10]}" if told["first"] else ""
    show.facts(
        [
            ("if this is bad", told["of"]),
            ("rows that it brought", f"{told['rows']:,}" if told["rows"] else ""),
            ("models that learned", ", ".join(f"{name} ({n:,})" for name, n in told["models"].items())),
            ("versions", f"{told['versions']:,}, {told['direct']:,} of them on that very version"),
            ("champions now", f"{told['champions']:,}"),
            ("predictions", f"{told['predictions']:,}{span}"),
            (
                "counted until",
                ", ".join(
                    f"{name}: {show.when(at) or 'never; modelworks apply counts'}"
                    for name, at in told["counted_until"].items()
                ),
            ),
        ]
    )
    show.table(
        "Versions, champions first",
        ["version", "", "trained on", "predictions#", "first day", "last day"],
        [
            [
                one["ref"],
                "champion" if one["champion"] else "",
                "it" if one["direct"] else "a later version",
                one["predictions"],
                (one["first"] or "")[:10],
                (one["last"] or "")[:10],
            ]
            for one in told["worst"]
        ],
        "no model learned from it",
    )
    if told["more"]:
        show.note("there are more versions: only the newest were looked at")
    for note in told["notes"]:
        show.note(f"{show.cell(note)}")
    return show.hint("modelworks rollback REF, modelworks forget DATASET KEY")


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
