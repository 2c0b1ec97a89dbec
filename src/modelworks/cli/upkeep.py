"""Commands that keep datasets in order: pins, packing, letting go, forgetting."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modelworks.cli.door import Door
from modelworks.console import terminal as show


def register(app: typer.Typer, data: typer.Typer) -> None:
    """Put the commands into the application, and among those about data."""
    app.command("forget")(forget)
    for command in (verify, pin, unpin, compact, vacuum):
        data.command()(command)


def verify(
    context: typer.Context, ref: Annotated[str, typer.Argument(help="flights, flights@12 or flights@TAG")]
) -> None:
    """Whether a version still is what it was: each of its files, its list of files, its rows."""
    door: Door = context.obj
    told = door.call("verify", ref=ref)
    if door.json:
        show.raw(told)
    else:
        verified(told)
        show.hint(f"modelworks lineage {told['version']} --down")
    if not told["intact"]:
        raise typer.Exit(3)


def verified(told: dict[str, Any]) -> None:
    """What a look at a version's files found."""
    word = "[green]is what it was[/green]" if told["intact"] else "[red]is not what it was[/red]"
    show.OUT.print(f"{show.cell(told['version'])} {word}: {told['rows']:,} rows, {told['digest'][:12]}")
    if told["packed"]:
        show.OUT.print("  its files were written anew since, by packing or forgetting")
    if told["erased"]:
        show.OUT.print(f"  {told['erased']:,} rows of forgotten subjects are gone, as they should be")
    for finding in told["findings"]:
        show.OUT.print(f"  [red]{show.cell(finding)}[/red]")
    for one in told["damage"]:
        came = f"came with versions {one['first']} to {one['last']}"
        came = f"came with version {one['first']}" if one["first"] == one["last"] else came
        changed = f"; changed: {', '.join(one['columns'])}" if one["columns"] else ""
        line = f"{one['file']} {one['why']}: {one['rows']:,} rows that {came}{changed}"
        show.OUT.print(f"  [red]{show.cell(line)}[/red]", soft_wrap=True)


def pin(
    context: typer.Context,
    ref: str,
    reason: Annotated[str, typer.Option(help="Why, for those who find it later.")] = "by hand",
) -> None:
    """Keep a version, whatever its age."""
    door: Door = context.obj
    told = door.call("pin", ref=ref, reason=reason)
    if door.json:
        return show.raw(told)
    name = f"{told['dataset']}@{told['version']}"
    show.OUT.print(f"{name} is kept until somebody unpins it")
    return show.hint(f"modelworks data unpin {name}")


def unpin(context: typer.Context, ref: str) -> None:
    """Let a pinned version go when its time comes."""
    door: Door = context.obj
    told = door.call("unpin", ref=ref)
    if door.json:
        return show.raw(told)
    show.OUT.print(f"{told['dataset']}@{told['version']} is not pinned any more")
    return show.hint(f"modelworks data vacuum {told['dataset']}")


def compact(context: typer.Context, dataset: str) -> None:
    """Pack small files into large ones, ordered for the dataset's models."""
    door: Door = context.obj
    told = door.call("compact", dataset=dataset)
    if door.json:
        return show.raw(told)
    files = told["files"]
    show.OUT.print(f"{files:,} small files of {dataset} packed" if files else "there is nothing to pack")
    return show.hint(f"modelworks data vacuum {dataset} deletes what no version needs")


def vacuum(
    context: typer.Context,
    dataset: str,
    keep: Annotated[str, typer.Option(help="How old a version becomes that nothing uses.")] = "30d",
) -> None:
    """Let old versions go that nothing uses, and delete the files that no version needs.

    The newest stays, and those that are tagged, pinned, or that a live model was trained on.
    """
    door: Door = context.obj
    told = door.call("vacuum", dataset=dataset, keep=keep)
    if door.json:
        return show.raw(told)
    show.OUT.print(f"{len(told['dropped']):,} versions let go, {told['files']:,} files deleted")
    for version, reason in told["kept"].items():
        show.OUT.print(f"  {dataset}@{version} stays: {show.cell(reason)}")
    return show.hint(f"modelworks data show {dataset}")


def forget(
    context: typer.Context,
    dataset: str,
    key: Annotated[str, typer.Option(help="The subject: a value of the dataset's key column.")],
    column: Annotated[str | None, typer.Option(help="Another column that names the subject.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase a subject's rows from dataset, quarantine and prediction log, for good; list who learned from them."""
    door: Door = context.obj
    if not yes and not door.json:
        typer.confirm(
            f"Erase {key!r} from every version of {dataset}? It cannot be undone", abort=True, err=True
        )
    told = door.call("forget", dataset=dataset, key=key, column=column)
    if door.json:
        return show.raw(told)
    show.facts(
        [
            ("rows", f"{told['rows']:,} of the newest version"),
            ("quarantine", f"{told['quarantined']:,}"),
            ("prediction log", f"{told['predictions']:,}"),
            ("versions dropped", ", ".join(map(str, told["dropped"])) or "none"),
        ]
    )
    show.table(
        "Model versions that learned from these rows",
        ["version"],
        [[name] for name in told["models"]],
        "none",
    )
    if told["models"]:
        return show.hint("modelworks train --force --scratch makes versions that have not learned from them")
    return show.hint(f"modelworks data show {dataset}")
