"""The commands and their options; what is heavy is imported when a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelworks.cli import (
    access,
    ask,
    cards,
    data,
    deploy,
    export,
    labels,
    models,
    monitor,
    project,
    proof,
    runs,
    simulate,
    value,
    watch,
)
from modelworks.cli.door import Door

app = typer.Typer(
    name="modelworks",
    help="A model factory: train, serve, watch and retrain hundreds of models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(show: bool) -> None:
    if show:
        from modelworks import __version__

        typer.echo(f"modelworks {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    project: Annotated[
        Path, typer.Option(help="Folder of the project.", envvar="MODELWORKS_PROJECT")
    ] = Path(),
    server: Annotated[
        str, typer.Option(help="Work on a server instead, by its URL.", envvar="MODELWORKS_SERVER")
    ] = "",
    token: Annotated[str, typer.Option(help="Token for the server.", envvar="MODELWORKS_TOKEN")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print only JSON.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A model factory: train, serve, watch and retrain hundreds of models."""
    context.obj = Door(project, server, token, json)


for module in (
    project,
    data,
    models,
    deploy,
    cards,
    runs,
    ask,
    watch,
    monitor,
    value,
    simulate,
    proof,
    export,
    access,
):
    module.register(app)
labels.register(models.models)
