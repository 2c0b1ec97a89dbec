"""Commands about data."""

from __future__ import annotations

from typing import Annotated

import typer

from modelworks.cli.door import Door
from modelworks.console import terminal as show

data = typer.Typer(help="Datasets: list, show, tag, quarantine.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Put the commands into the application."""
    app.command("ingest")(ingest)
    app.add_typer(data, name="data")


def ingest(
    context: typer.Context, dataset: Annotated[str | None, typer.Argument(help="Only this dataset.")] = None
) -> None:
    """Take in what is new in the sources; bad rows go to quarantine with the reason."""
    door: Door = context.obj
    reports = door.watched("ingest", dataset=dataset)
    if door.json:
        return show.raw(reports)
    show.table(
        "Ingested",
        ["dataset", "version", "files#", "rows added#", "quarantined#", "time#"],
        [
            [
                r["dataset"],
                f"{r['dataset']}@{r['version']}" if r["version"] else "nothing new",
                r["parts"],
                r["rows_added"],
                r["rows_quarantined"],
                show.seconds(r["seconds"]),
            ]
            for r in reports
        ],
    )
    for report in reports:
        for reason, number in list(report["reasons"].items())[:5]:
            show.OUT.print(f"  [yellow]{number:,}[/yellow] rows: {show.cell(reason)}")
        if report["extra"]:
            names = ", ".join(report["extra"])
            show.OUT.print(f"  left out, not in the contract: {show.cell(names)}")
    if any(report["rows_quarantined"] for report in reports):
        return show.hint("modelworks data quarantine DATASET shows the rows that were kept apart")
    return show.hint("modelworks train")


@data.command("list")
def list_(context: typer.Context) -> None:
    """Every dataset with its newest version."""
    door: Door = context.obj
    rows = door.call("datasets")
    if door.json:
        return show.raw(rows)
    show.table(
        "Datasets",
        ["name", "version", "rows#", "added#", "quarantined#", "when"],
        [
            [r["name"], r["version"], r["rows"], r["added"], r["quarantined"], show.when(r["created"])]
            for r in rows
        ],
        "none is declared; see mw.Dataset in factory.py",
    )
    return show.hint("modelworks data show NAME")


@data.command("show")
def show_(
    context: typer.Context, ref: Annotated[str, typer.Argument(help="flights, flights@12 or flights@TAG")]
) -> None:
    """One dataset: contract, versions, tags."""
    door: Door = context.obj
    told = door.call("dataset", ref=ref)
    if door.json:
        return show.raw(told)
    show.facts([("dataset", told["name"]), ("key", told["key"]), ("time", told["time"])])
    show.table(
        "Contract",
        ["column", "type", "missing", "rule"],
        [
            [
                f["name"],
                f["kind"],
                "allowed" if f.get("nullable") else "refused",
                " ".join(f"{k} {f[k]}" for k in ("min", "max", "allowed") if k in f),
            ]
            for f in told["contract"]
        ],
    )
    tags = {version: tag for tag, version in told["tags"].items()}
    show.table(
        "Versions",
        ["version", "tag", "rows#", "added#", "quarantined#", "when"],
        [
            [
                v["version"],
                tags.get(v["version"]),
                v["rows"],
                v["added"],
                v["quarantined"],
                show.when(v["created"]),
            ]
            for v in told["versions"]
        ],
    )
    return show.hint(f"modelworks lineage {told['name']}@latest --down")


@data.command()
def quarantine(context: typer.Context, dataset: str, limit: int = 20) -> None:
    """Rows that broke the contract, with the reason."""
    door: Door = context.obj
    rows = door.call("quarantine", dataset=dataset, limit=limit)
    if door.json:
        return show.raw(rows)
    show.table(
        "Quarantine",
        ["reason", "source", "row#", "content"],
        [[r["reason"], r["source"], r["number"], (r["row"] or "")[:200]] for r in rows],
        "empty",
    )
    return show.hint("mend the source and ingest again")


@data.command()
def tag(context: typer.Context, ref: str, tag: str) -> None:
    """Name a dataset version."""
    door: Door = context.obj
    told = door.call("tag", ref=ref, tag=tag)
    if door.json:
        return show.raw(told)
    show.OUT.print(f"{told['dataset']}@{tag} is version {told['version']}")
    return show.hint(f"modelworks data show {told['dataset']}@{tag}")
