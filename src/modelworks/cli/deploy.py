"""Commands about what a person decides of a version: deploy, promote, roll back, approve, reject."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modelworks.cli.arguments import Reason, Ref
from modelworks.cli.door import Door
from modelworks.console import terminal as show


def register(app: typer.Typer) -> None:
    """Put the commands into the application."""
    for command in (deploy, promote, rollback, approve, reject):
        app.command(command.__name__)(command)


def deploy(
    context: typer.Context,
    ref: Ref,
    reason: Reason = "by hand",
    gradually: Annotated[
        bool, typer.Option("--gradually", help="By the model's rollout strategy instead of at once.")
    ] = False,
) -> None:
    """Make a version the champion of its segment: at once, or gradually by the model's rollout strategy."""
    _changed(context, "deploy", ref=ref, reason=reason, gradually=gradually)


def promote(context: typer.Context, ref: Ref, reason: Reason = "by hand") -> None:
    """Make the challenger of a rollout the champion now, without waiting for its end."""
    _changed(context, "promote", ref=ref, reason=reason)


def rollback(context: typer.Context, ref: Ref, reason: Reason = "by hand") -> None:
    """Undo the last change of a segment: abandon its rollout, or give it its previous champion back."""
    _changed(context, "rollback", ref=ref, reason=reason)


def approve(
    context: typer.Context,
    ref: Annotated[str | None, typer.Argument(help="Which version; without one, what waits.")] = None,
) -> None:
    """Bring out a version that passed its gates and waits for a person; without one, tell what waits."""
    if ref is not None:
        return _changed(context, "approve", ref=ref)
    door: Door = context.obj
    rows = door.call("waiting")
    if door.json:
        return show.raw(rows)
    show.table(
        "Waits for a person",
        ["version", "champion#", "metrics", "since", "because"],
        [
            [
                r["ref"],
                r["champion"],
                show.metrics(r["metrics"]),
                show.when(r["created"]),
                _wait_because(r["reason"]),
            ]
            for r in rows
        ],
        "nothing does",
    )
    if not rows:
        return show.hint("modelworks decisions")
    return show.hint(f"modelworks approve '{rows[0]['ref']}', or modelworks reject '{rows[0]['ref']}'")


def _wait_because(reason: str | None) -> str:
    return (reason or "").removeprefix("waits for approval: ")


def reject(context: typer.Context, ref: Ref, reason: Reason = "") -> None:
    """Turn down a version that waits for a person."""
    _changed(context, "reject", ref=ref, reason=reason)


def _changed(context: typer.Context, verb: str, **arguments: Any) -> None:
    door: Door = context.obj
    told = door.call(verb, **arguments)
    if door.json:
        return show.raw(told)
    done = {"reject": "turned down", "abandon": "taken out", "begin": "on its way"}.get(
        told["action"], "the champion now"
    )
    show.OUT.print(f"{show.cell(told['ref'])} is {done}: {show.cell(told['reason'])}")
    if told["action"] == "begin":
        return show.hint(f"modelworks rollouts, modelworks rollback '{told['ref'].split('@')[0]}'")
    return show.hint(f"modelworks models show '{told['ref'].split('@')[0]}'")
