"""Commands about the project as a whole: init, demo, up, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelworks.cli.door import Door
from modelworks.console import terminal as show


def register(app: typer.Typer) -> None:
    """Put the commands into the application."""
    for command in (init, demo, up, doctor):
        app.command(command.__name__)(command)
    app.command("worker", hidden=True)(worker)
    app.command("server", hidden=True)(server)


def init(
    context: typer.Context, folder: Annotated[Path, typer.Argument(help="Where to make it.")] = Path()
) -> None:
    """Make a small project that works: a dataset, a model, settings."""
    from modelworks.cli.template import make

    door: Door = context.obj
    made = make(folder)
    if door.json:
        return show.raw([str(path) for path in made])
    for path in made:
        show.OUT.print(f"made {show.cell(path)}")
    place = "" if folder == Path() else f"cd {folder} && "
    return show.hint(f"{place}modelworks ingest && modelworks train && modelworks up")


def demo(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(help="flights: a year of departures. ner: names in a text.")
    ] = "flights",
    exit: Annotated[
        bool, typer.Option("--exit", help="End when all is shown instead of serving on.")
    ] = False,
    folder: Annotated[Path | None, typer.Option(help="Where to build it; made anew.")] = None,
    port: Annotated[int, typer.Option(help="Port of the server; 0 lets the system choose.")] = 8000,
    days: Annotated[int, typer.Option(help="Days to replay, of flights.", min=1, max=306)] = 306,
    stream: Annotated[
        bool, typer.Option("--stream", help="Flights come through a NATS server instead of files.")
    ] = False,
) -> None:
    """Watch a factory work on real data, end to end."""
    from modelworks.core.plain import plain
    from modelworks.demos import DEMOS

    door: Door = context.obj
    place = folder or Path(f"demo-{name}")
    told = DEMOS[name](place, exit_after=exit, port=port, days=days, quiet=door.json, streamed=stream)
    if door.json:
        show.raw(plain(told))


def up(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 lets the system choose.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Server processes on that port; 0 for one a core.", min=0)
    ] = None,
    worker: Annotated[bool, typer.Option(help="Run the worker beside the server.")] = True,
    only_predict: Annotated[
        bool,
        typer.Option("--only-predict", help="Predictions, outcomes, probes and metrics; no API, no console."),
    ] = False,
    open: Annotated[
        bool,
        typer.Option("--open", help="With --only-predict: listen anywhere, also while there is no token."),
    ] = False,
) -> None:
    """Serve: predictions, outcomes, the API and the console."""
    from modelworks.api.up import count_of
    from modelworks.api.up import up as serve

    door: Door = context.obj
    with door.factory() as factory:

        def ready(actual: int) -> None:
            settings = factory.config.settings
            where = host or settings.server_host
            url = f"http://{where}:{actual}"
            count = count_of(settings.server_workers if workers is None else workers)
            if door.json:
                show.raw({"url": url, "processes": count})
            else:
                live = len(factory.stations.deploy.state())
                several = f", {count} processes" if count > 1 else ""
                show.OUT.print(f"[bold]{url}[/bold]  {live:,} model{'' if live == 1 else 's'} live{several}")
                if only_predict:
                    show.note(f"metrics {url}/metrics   [dim]Ctrl-C ends it[/dim]")
                    return
                show.note(f"console {url}/   docs {url}/docs")
                also = f"grpc {where}:{settings.server_grpc_port}   " if settings.server_grpc_port else ""
                show.note(f"metrics {url}/metrics   {also}[dim]Ctrl-C ends it[/dim]")
                first = next(iter(factory.project.models), None)
                if first:
                    show.hint(f"POST {url}/predict/{first}  (the docs show an example)")

        serve(
            factory,
            host=host,
            port=port,
            workers=workers,
            worker=worker,
            only_predict=only_predict,
            open=open,
            ready=ready,
        )


def worker(context: typer.Context) -> None:
    """Move the log into the tables and turn the loop; started by `up`."""
    from modelworks.api.up import work

    door: Door = context.obj
    with door.factory() as factory:
        work(factory)


def server(context: typer.Context, seat: str) -> None:
    """One of several server processes; started by `up`."""
    import json

    from modelworks.api.process import take
    from modelworks.api.seat import Seat

    door: Door = context.obj
    with door.factory() as factory:
        take(factory, Seat(**json.loads(seat)))


def doctor(context: typer.Context) -> None:
    """Check that everything a factory needs is there."""
    from modelworks.cli.checkup import checkup

    door: Door = context.obj
    findings = checkup(door.project)
    if door.json:
        show.raw(findings)
    else:
        for finding in findings:
            mark = "[green]ok[/green]    " if finding["ok"] else "[red]failed[/red]"
            show.OUT.print(f"{mark} {show.cell(finding['what'])}: {show.cell(finding['found'])}")
            if not finding["ok"] and finding["fix"]:
                show.note(f"[green]{show.cell(finding['fix'])}[/green]", indent=7)
        show.hint("modelworks status")
    if not all(finding["ok"] for finding in findings):
        raise typer.Exit(1)
