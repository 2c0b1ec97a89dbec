"""Rows that broke the contract: looked at, corrected, taken in again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from orjson import JSONDecodeError, loads

from modelworks.cli.arguments import Dataset
from modelworks.cli.door import Door
from modelworks.cli.ingest import beside
from modelworks.console import terminal as show
from modelworks.core.errors import Invalid


def register(data: typer.Typer) -> None:
    """Put the commands among those about data."""
    for command in (quarantine, replay):
        data.command()(command)


Reason = Annotated[str, typer.Option(help="Only rows with this text in their reason.")]
Origin = Annotated[str, typer.Option("--source", help="Only rows with this text in their source.")]


def quarantine(
    context: typer.Context,
    dataset: Dataset,
    limit: Annotated[int, typer.Option(help="Most rows to show, the newest first.")] = 20,
    reason: Reason = "",
    source: Origin = "",
    out: Annotated[
        Path | None, typer.Option(help="Write the rows to this JSON Lines file, to correct them there.")
    ] = None,
) -> None:
    """Rows that broke the contract, with the reason."""
    door: Door = context.obj
    limit = _ALL if out is not None else limit
    rows = door.call("quarantine", dataset=dataset, limit=limit, reason=reason, source=source)
    if out is not None:
        from modelworks.core.plain import to_json

        with_row = [{**r, "row": loads(r["row"])} for r in rows if r["row"] is not None]
        out.write_bytes(b"".join(to_json(line) + b"\n" for line in with_row))
        show.OUT.print(f"{len(with_row):,} rows written to {out}")
        return show.hint(f"correct 'row' in it, then modelworks data replay {dataset} --file {out}")
    if door.json:
        return show.raw(rows)
    show.table(
        "Quarantine",
        ["id", "reason", "source", "row#", "content"],
        [[r["id"], r["reason"], r["source"], r["number"], (r["row"] or "")[:200]] for r in rows],
        "empty",
    )
    if not rows:
        return show.hint(f"modelworks data show {dataset}")
    return show.hint(f"mend the contract or the rows, then modelworks data replay {dataset}")


_ALL = 10_000_000


def replay(
    context: typer.Context,
    dataset: Dataset,
    id: Annotated[list[str] | None, typer.Option(help="Only the row with this id; may be repeated.")] = None,
    reason: Reason = "",
    source: Origin = "",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="COLUMN=VALUE for every row; may be repeated.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Corrected rows, as 'data quarantine --out' wrote them.", exists=True)
    ] = None,
) -> None:
    """Take rows of the quarantine in again; those that fit the contract now leave it.

    Without a choice all of them are tried: after the contract became wider, for instance.
    """
    door: Door = context.obj
    values = {}
    for one in set_ or ():
        column, is_, value = one.partition("=")
        if not is_:
            raise Invalid(f"usage: --set {one!r} has no value", "", "write --set COLUMN=VALUE")
        values[column.strip()] = value or None
    corrected = [] if file is None else [_line(line, file) for line in file.read_bytes().splitlines() if line]
    told = door.call(
        "replay", dataset=dataset, ids=id or [], reason=reason, source=source, values=values,
        corrected=corrected,
    )  # fmt: skip
    if door.json:
        return show.raw(told)
    if told["rows_added"]:
        show.OUT.print(f"{told['rows_added']:,} rows came in as {dataset}@{told['version']}")
    if told["rows_quarantined"]:
        show.OUT.print(f"{told['rows_quarantined']:,} rows do not fit the contract, and stay where they are:")
    for why, number in list(told["reasons"].items())[:5]:
        show.note(f"[yellow]{number:,}[/yellow] {'row' if number == 1 else 'rows'}: {show.cell(why)}")
    beside(told)
    return show.hint(f"modelworks data quarantine {dataset}")


def _line(line: bytes, file: Path) -> Any:
    try:
        return loads(line)
    except JSONDecodeError as error:
        raise Invalid(f"{file} is not JSON Lines", str(error), "one object a line") from error
