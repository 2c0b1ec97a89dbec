"""The command that asks models: a few rows, or a file or a dataset of them."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer

from modelworks.cli.door import Door
from modelworks.console import terminal as show


def register(app: typer.Typer) -> None:
    """Put the command into the application."""
    app.command(predict.__name__)(predict)


def predict(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="delay, 'delay[UA,EWR]', with --out also delay@3.")],
    row: Annotated[list[str] | None, typer.Option(help="A row as JSON; may be repeated.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="Rows from a Parquet, CSV, JSON or JSON Lines file.", exists=True)
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Rows of a dataset, flights or flights@12; with --out.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the answers of all rows into this Parquet file.")
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="A column to write beside the answers, besides key and time; '*' for all."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes; 0 for one a core.", min=0)] = 0,
    stream: Annotated[bool, typer.Option("--stream", help="Print the answer as it comes.")] = False,
) -> None:
    """Answer rows, each by its segment's champion; with --out all of a file or a dataset, in parallel."""
    from modelworks.core.errors import Invalid

    door: Door = context.obj
    if out is not None or dataset is not None:
        if out is None:
            raise Invalid("usage: a dataset is answered into a file", "", "say which with --out FILE.parquet")
        if row:
            raise Invalid("usage: --row is not for --out", "", "give --file or --dataset")
        if stream:
            raise Invalid("usage: --stream is not for --out", "", "leave one of them out")
        return _score(door, model, out, file, dataset, keep or [], workers)
    try:
        rows: list[dict[str, Any]] = [jsonlib.loads(text) for text in row or []]
    except ValueError as error:
        raise Invalid(
            "usage: --row is not JSON", str(error), """write for instance --row '{"distance": 1400}'"""
        ) from error
    if file is not None:
        rows += _rows(file)
    if not rows:
        raise Invalid("usage: there are no rows", "", "give --row JSON, --file FILE or --dataset NAME")
    if stream:
        return _streamed(door, model, rows)
    told = door.call("predict", model=model, rows=rows)
    if door.json:
        return show.raw(told)
    show.table(
        "Predictions",
        ["id", "segment", "version#", "output", "flags"],
        [
            [
                p["id"],
                p["segment"] or "(all)",
                p["version"],
                p["output"] if not isinstance(p["output"], dict) else jsonlib.dumps(p["output"]),
                show.flags(p.get("flags")),
            ]
            for p in told["predictions"]
        ],
    )
    return show.hint(f"modelworks why {told['predictions'][0]['id']}")


def _streamed(door: Door, model: str, rows: list[dict[str, Any]]) -> None:
    """Print pieces as they come: texts one behind the other, else a line each; with --json an object a line."""
    last: int | None = None
    line = True  # whether the next piece begins one
    told: dict[str, Any] = {}
    for one in door.streamed(model, rows):
        if door.json:
            show.line(jsonlib.dumps(one))
        if "predictions" in one:
            told = one
            continue
        text, row = one["piece"], one["row"]
        if not door.json:
            if not line and (row != last or not isinstance(text, str)):
                show.piece("\n")
            if len(rows) > 1 and row != last:
                show.piece(f"row {row}: ")
            show.piece(text if isinstance(text, str) else jsonlib.dumps(text) + "\n")
            line = not isinstance(text, str)
        last = row
    if not door.json:
        if not line:
            show.piece("\n")
        show.hint(f"modelworks why {told['predictions'][0]['id']}")


def _score(
    door: Door,
    model: str,
    out: Path,
    file: Path | None,
    dataset: str | None,
    keep: list[str],
    workers: int,
) -> None:
    where = {"file": None if file is None else str(file), "dataset": dataset}
    told = door.watched("score", model=model, out=str(out), **where, keep=keep, workers=workers)
    if door.json:
        show.raw(told)
    else:
        again = f", {told['kept']:,} of them kept from before" if told["kept"] else ""
        show.facts(
            [
                ("answered", f"{told['answered']:,} of {told['rows']:,} rows"),
                ("not answered", f"{told['refused']:,}, see the column 'error'" if told["refused"] else None),
                *((f"  {count:,} rows", show.cell(reason)) for reason, count in told["reasons"].items()),
                ("kept, with the reasons", told["quarantine"]),
                ("flagged", f"{told['flagged']:,}, see the column 'flags'" if told["flagged"] else None),
                ("versions", told["versions"]),
                ("parts", f"{told['parts']:,}{again}"),
                ("time", show.seconds(told["seconds"])),
                ("written", told["out"]),
            ]
        )
        show.hint(f"python -c \"import polars; print(polars.read_parquet('{out}'))\"")
    if told["rows"] and not told["answered"]:
        raise typer.Exit(1)


def _rows(file: Path) -> list[dict[str, Any]]:
    import polars as pl

    from modelworks.core.errors import Invalid
    from modelworks.core.plain import plain

    readers: dict[str, Any] = {
        ".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson, ".json": pl.read_json,
    }  # fmt: skip
    if file.suffix not in readers:
        raise Invalid(f"usage: {file.name} has no known format", "", "use .parquet, .csv, .jsonl or .json")
    rows: list[dict[str, Any]] = plain(readers[file.suffix](file).to_dicts())
    return rows
