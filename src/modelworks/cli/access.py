"""Commands about tokens."""

from __future__ import annotations

from typing import Annotated

import typer

from modelworks.cli.door import Door
from modelworks.console import terminal as show

token = typer.Typer(help="Tokens: create, list, revoke.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="What the token is called.")]


def register(app: typer.Typer) -> None:
    """Put the commands into the application."""
    app.add_typer(token, name="token")


@token.command()
def create(
    context: typer.Context,
    name: Name,
    role: Annotated[
        str, typer.Option(help="caller (predicts and tells outcomes, no more), reader, builder or admin")
    ] = "",
    predict: Annotated[
        str, typer.Option(help="The only models that it may ask, 'delay,churn*'; all by default.")
    ] = "",
    rate: Annotated[
        float | None, typer.Option(help="Requests for predictions a second; any number by default.")
    ] = None,
    quota: Annotated[
        int | None, typer.Option(help="Requests for predictions a day; any number by default.")
    ] = None,
) -> None:
    """Make a token; it is shown this once."""
    from modelworks.access import tokens
    from modelworks.core.errors import Invalid

    door: Door = context.obj
    role = role or ("caller" if predict or rate or quota else "reader")
    models = [one.strip() for one in predict.split(",") if one.strip()]
    if role not in tokens.ROLES:
        raise Invalid(
            f"usage: {role!r} is not a role", f"roles are {', '.join(tokens.ROLES)}", "use one of these"
        )
    with door.factory() as factory, factory.stores.ledger.write() as db:
        made = tokens.create(db, name, role, factory.now(), models, rate, quota)
    if door.json:
        limits = {"models": models, "rate": rate, "quota": quota}
        return show.raw({"name": name, "role": role, **limits, "token": made})
    show.OUT.print(made)
    return show.hint("send it as 'Authorization: Bearer TOKEN'; from now on every caller needs one")


@token.command("list")
def list_(context: typer.Context) -> None:
    """Every token, without its secret."""
    from modelworks.access import tokens
    from modelworks.access.allowance import spent_on

    door: Door = context.obj
    with door.factory() as factory, factory.stores.ledger.read() as db:
        today = spent_on(db, factory.now())
        rows = [{**row, "today": today.get(row["name"], 0)} for row in tokens.listed(db)]
    if door.json:
        return show.raw(rows)
    show.table(
        "Tokens",
        ["name", "role", "models", "requests/s#", "a day#", "today#", "created", "revoked"],
        [
            [
                r["name"],
                r["role"],
                ", ".join(r["models"]) or "all",
                "any" if r["rate"] is None else r["rate"],
                "any" if r["quota"] is None else r["quota"],
                "" if r["quota"] is None else r["today"],
                r["created"].isoformat()[:16],
                r["revoked"] and r["revoked"].isoformat()[:16],
            ]
            for r in rows
        ],
    )
    return show.hint("modelworks token revoke NAME")


@token.command()
def revoke(context: typer.Context, name: Name) -> None:
    """Make a token worthless."""
    from modelworks.access import tokens

    door: Door = context.obj
    with door.factory() as factory, factory.stores.ledger.write() as db:
        tokens.revoke(db, name, factory.now())
    if door.json:
        return show.raw({"name": name, "revoked": True})
    show.OUT.print(f"{show.cell(name)} is revoked")
    return show.hint("modelworks token list")
