"""Taking in rows: what is new, or what comes of a stream."""

from __future__ import annotations

import signal
from threading import Event, Thread
from typing import Annotated, Any

import typer

from modelworks.cli.door import Door
from modelworks.console import terminal as show
from modelworks.core.errors import Invalid, ModelworksError


def register(app: typer.Typer) -> None:
    """Put the command into the application."""
    app.command("ingest")(ingest)


def ingest(
    context: typer.Context,
    dataset: Annotated[str | None, typer.Argument(help="Only this dataset.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on taking in what comes of its stream, until Ctrl-C.")
    ] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="Let in also what mw.Steady, mw.Fresh or mw.Rows refuse.")
    ] = False,
) -> None:
    """Take in what is new in the sources; bad rows go to quarantine with the reason."""
    door: Door = context.obj
    if follow:
        return _follow(door, dataset)
    reports = door.watched("ingest", dataset=dataset, accept=accept)
    if door.json:
        return show.raw(reports)
    show.table(
        "Ingested",
        ["dataset", "version", "parts#", "rows added#", "replaced#", "quarantined#", "time#"],
        [
            [
                r["dataset"],
                _what(r),
                r["parts"],
                r["rows_added"],
                r["rows_replaced"],
                r["rows_quarantined"],
                show.seconds(r["seconds"]),
            ]
            for r in reports
        ],
    )
    for report in reports:
        for reason, number in list(report["reasons"].items())[:5]:
            show.note(f"[yellow]{number:,}[/yellow] {'row' if number == 1 else 'rows'}: {show.cell(reason)}")
        beside(report)
    if any(report["refused"] for report in reports):
        raise typer.Exit(3)
    bad = [report["dataset"] for report in reports if report["rows_quarantined"]]
    if bad:
        return show.hint(f"modelworks data quarantine {bad[0]} shows the rows that were kept apart")
    return show.hint("modelworks train")


def _what(report: dict[str, Any]) -> str:
    if report["refused"]:
        return "refused"
    return f"{report['dataset']}@{report['version']}" if report["version"] else "nothing new"


def beside(report: dict[str, Any]) -> None:
    """What a person should know of an ingest besides its numbers."""
    if report["refused"]:
        show.note(f"[red]refused[/red] {show.cell(report['refused'])}")
    noted(report)
    for source, why in list(report["failed"].items())[:5]:
        show.note(f"[red]not read[/red] {show.cell(source)}: {show.cell(why)}")
    for word in (*report["lost"], *report["notes"]):
        show.note(f"{show.cell(word)}")


def noted(version: dict[str, Any]) -> None:
    """What was let in though something is wrong, and what was left out."""
    for what, rows in version["warnings"].items():
        many = f"{rows:,} {'row' if rows == 1 else 'rows'}: " if rows else ""
        show.note(f"[yellow]warning[/yellow] {many}{show.cell(what)}")
    for name, how in version["offered"].items():
        line = show.cell(f'"{name}": {how}')
        show.OUT.print(f"  not in the contract, left out: {name}; to take it in: {line}", soft_wrap=True)


def _follow(door: Door, dataset: str | None) -> None:
    """One line for every version; the same as JSON, one object a line."""
    from modelworks.core.plain import plain, to_json

    with door.factory() as factory:
        if dataset is not None:
            factory.project.dataset(dataset)
        streams = factory.streams()
        if dataset not in streams if dataset else len(streams) != 1:
            known = ", ".join(streams) or "no dataset is fed by a stream"
            raise Invalid(
                "usage: name a dataset that can be followed",
                f"there are: {known}",
                "see mw.Nats and mw.Kafka",
            )
        name = dataset or streams[0]
        total = 0

        def hear(told: Any) -> None:
            nonlocal total
            failed = isinstance(told, ModelworksError)
            if door.json:
                line = {"error": told.to_json()} if failed else told
                print(to_json(line).decode(), flush=True)
            elif failed:
                show.ERR.print(f"[red]waiting[/red] {show.cell(str(told))}")
            else:
                total += told.rows_added
                kept = (
                    f", [yellow]{told.rows_quarantined:,} quarantined[/yellow]"
                    if told.rows_quarantined
                    else ""
                )
                show.OUT.print(
                    f"{name}@{told.version}  {told.rows_added:,} rows{kept}  [dim]{total:,} so far[/dim]"
                )
                beside(plain(told))

        stop = Event()
        thread = Thread(target=factory.follow, args=(name, stop, hear), daemon=True)
        if not door.json:
            show.ERR.print(f"[dim]following {name}; Ctrl-C ends it[/dim]")
        before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
        thread.start()
        try:
            while thread.is_alive() and not stop.wait(0.5):
                pass
        except KeyboardInterrupt:
            stop.set()
        thread.join()  # what was taken by now is committed
        signal.signal(signal.SIGTERM, before)
    if not door.json:
        show.hint(f"modelworks data show {name}")
