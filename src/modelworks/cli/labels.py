"""Commands by which people say something of models and versions: tags, notes, owners, trust."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from modelworks.cli.arguments import Ref
from modelworks.cli.door import Door
from modelworks.cli.models import brought_in
from modelworks.console import terminal as show
from modelworks.core.errors import Invalid


def register(models: typer.Typer) -> None:
    """Put the commands among those about models."""
    for name, command in (
        ("trust", models_trust),
        ("tag", models_tag),
        ("note", models_note),
        ("owner", models_owner),
    ):
        models.command(name)(command)


def models_trust(
    context: typer.Context,
    ref: Ref,
    example: Annotated[
        Path | None,
        typer.Option(help="Rows that it can answer (.parquet, .csv, .json), to prove its compiled form."),
    ] = None,
) -> None:
    """Read a version that was kept as it came: I know who made it, and that a pickle can run any code."""
    door: Door = context.obj
    with door.factory() as factory:
        told = factory.trust_model(ref, example)
    if door.json:
        return show.raw(told)
    brought_in(told)
    return show.hint(f"modelworks {'predict' if told['deployed'] else 'deploy'} '{told['ref']}'")


def models_tag(
    context: typer.Context,
    ref: Ref,
    tags: Annotated[list[str], typer.Argument(help="KEY=VALUE; KEY= takes a tag away.", metavar="TAG")],
) -> None:
    """Set tags of a model, a segment or a version."""
    given = dict(one.partition("=")[::2] for one in tags)
    if not all("=" in one for one in tags):
        raise Invalid("usage: a tag is KEY=VALUE", f"got {', '.join(tags)}", "")
    _labelled(context, "tag_model", ref=ref, tags={name: value or None for name, value in given.items()})


def models_note(
    context: typer.Context, ref: Ref, text: Annotated[str, typer.Argument(help="Markdown.")]
) -> None:
    """Say something of a model, a segment or a version; it takes the place of what was said."""
    _labelled(context, "note_model", ref=ref, note=text)


def models_owner(
    context: typer.Context, ref: Ref, name: Annotated[str, typer.Argument(help="A person or a team.")]
) -> None:
    """Say who answers for a model, a segment or a version."""
    _labelled(context, "own_model", ref=ref, owner=name)


def _labelled(context: typer.Context, verb: str, **arguments: Any) -> None:
    door: Door = context.obj
    told = door.call(verb, **arguments)
    if door.json:
        return show.raw(told)
    show.facts([("of", told["ref"]), *show.labels(told)])
    return show.hint(f"modelworks models show '{told['ref']}'")
