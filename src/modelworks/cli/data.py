"""Commands about data."""

from __future__ import annotations

import signal
from pathlib import Path
from threading import Event, Thread
from typing import Annotated, Any

import typer
from orjson import JSONDecodeError, loads

from modelworks.cli import upkeep
from modelworks.cli.door import Door
from modelworks.console import terminal as show
from modelworks.core.errors import Invalid, ModelworksError

data = typer.Typer(help="Datasets: look, compare, keep, tidy.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Put the commands into the application."""
    app.command("ingest")(ingest)
    upkeep.register(app, data)
    app.add_typer(data, name="data")


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
            show.OUT.print(
                f"  [yellow]{number:,}[/yellow] {'row' if number == 1 else 'rows'}: {show.cell(reason)}"
            )
        _beside(report)
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


def _beside(report: dict[str, Any]) -> None:
    """What a person should know of an ingest besides its numbers."""
    if report["refused"]:
        show.OUT.print(f"  [red]refused[/red] {show.cell(report['refused'])}")
    _noted(report)
    for source, why in list(report["failed"].items())[:5]:
        show.OUT.print(f"  [red]not read[/red] {show.cell(source)}: {show.cell(why)}")
    for word in (*report["lost"], *report["notes"]):
        show.OUT.print(f"  {show.cell(word)}")


def _noted(version: dict[str, Any]) -> None:
    """What was let in though something is wrong, and what was left out."""
    for what, rows in version["warnings"].items():
        many = f"{rows:,} {'row' if rows == 1 else 'rows'}: " if rows else ""
        show.OUT.print(f"  [yellow]warning[/yellow] {many}{show.cell(what)}")
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
                _beside(plain(told))

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
    newest = told["versions"][0] if told["versions"] else {"newest": None, "offered": {}, "warnings": {}}
    show.facts(
        [
            ("dataset", told["name"]),
            ("key", told["key"]),
            ("time", told["time"]),
            ("newest row", show.when(newest["newest"]) if newest["newest"] else "-"),
        ]
    )
    show.table(
        "Contract",
        ["column", "type", "missing", "rule"],
        [
            [
                f["name"],
                f["kind"],
                "allowed" if f.get("nullable") else "refused",
                " ".join(f"{k} {f[k]}" for k in ("min", "max", "allowed", "on_breach") if k in f),
            ]
            for f in told["contract"]
        ],
    )
    if told["features"]:
        show.table(
            "Features",
            ["feature", "type", "how"],
            [[name, f["kind"], _how(f["how"])] for name, f in told["features"].items()],
        )
    tags = {version: tag for tag, version in told["tags"].items()}
    pins = {int(version): reason for version, reason in told["pins"].items()}
    show.table(
        "Versions",
        ["version", "tag", "rows#", "added#", "replaced#", "quarantined#", "when", "kept"],
        [
            [
                v["version"],
                tags.get(v["version"]),
                v["rows"],
                v["added"],
                v["replaced"],
                v["quarantined"],
                show.when(v["created"]),
                _kept(v, tags, pins),
            ]
            for v in told["versions"]
        ],
    )
    _noted(newest)
    return show.hint(f"modelworks lineage {told['name']}@latest --down")


def _how(how: dict[str, Any]) -> str:
    """How a feature is computed, in one line."""
    if how["feature"] == "expression":
        return str(how["text"])
    by = ", ".join(f"{a} = {b}" if a != b else a for a, b in how["by"].items())
    for_ = f" for the same {by}" if by else ""
    if how["feature"] == "as_of":
        old = f", at most {how['within']} old" if how["within"] else ""
        return f"{how['column']} of {how['dataset']} at that time{for_}{old}"
    what = f"{how['statistic']} of {how['column']}" if how["column"] else "number of rows"
    of = f" in {how['dataset']}" if how["dataset"] else ""
    lag = f", known after {how['lag']}" if how["lag"] else ""
    return f"{what}{of} over the last {how['over']}{for_}{lag}"


def _kept(version: dict[str, Any], tags: dict[int, str], pins: dict[int, str]) -> str:
    """Whether a version's rows are kept, and why for good."""
    if version["dropped"]:
        return "no more"
    if version["version"] in pins:
        return f"pinned: {pins[version['version']]}"
    return "tagged" if version["version"] in tags else ""


@data.command()
def profile(
    context: typer.Context, ref: Annotated[str, typer.Argument(help="flights, flights@12 or flights@TAG")]
) -> None:
    """What a version's columns hold."""
    door: Door = context.obj
    told = door.call("profile", ref=ref)
    if door.json:
        return show.raw(told)
    rows = []
    for name, column in told["columns"].items():
        spread = common = ""
        if "top" in column:
            common = ", ".join(f"{value} ({number:,})" for value, number in column["top"][:3])
        else:
            low, *_, middle, _, _, high = column["quantiles"]
            spread = f"{_short(low)} … {_short(middle)} … {_short(high)}"
            common = show.bars(column["counts"])
        rows.append([name, column["kind"], column["nulls"], column["distinct"], spread, common])
    show.table(
        f"Profile of {told['version']}, {told['rows']:,} rows",
        ["column", "type", "missing#", "distinct#", "least … median … most", "distribution"],
        rows,
    )
    return show.hint(f"modelworks data diff {ref.split('@')[0]}@1 {told['version']} shows what has changed")


def _short(value: Any) -> str:
    """A number or moment in few characters."""
    if value is None:
        return "-"
    return value[:10] if isinstance(value, str) else f"{value:.4g}"


@data.command()
def diff(context: typer.Context, before: str, after: str) -> None:
    """What is different between two versions: columns, rows by key, distributions."""
    door: Door = context.obj
    told = door.call("diff", before=before, after=after)
    if door.json:
        return show.raw(told)
    rows = told["rows"]
    show.facts(
        [
            ("rows", f"{rows['before']:,} in {told['before']}, {rows['after']:,} in {told['after']}"),
            ("added", f"{rows['added']:,}"),
            ("removed", f"{rows['removed']:,}"),
            ("changed", f"{rows['changed']:,}"),
        ]
    )
    declared = {
        name: how if isinstance(how, str) else f"was {_rule(how['before'])}, is {_rule(how['after'])}"
        for name, how in told["columns"].items()
    }
    names = [*declared, *told["changes"], *(name for name, by in told["shift"].items() if by >= _NOTED)]
    show.table(
        "Columns",
        ["column", "declared", "values changed#", "shift#"],
        [
            [name, declared.get(name), told["changes"].get(name), f"{told['shift'].get(name, 0.0):.2f}"]
            for name in dict.fromkeys(names)
        ],
        "no column changed or moved",
    )
    return show.hint(f"modelworks data profile {after}")


_NOTED = 0.1
"""Shift from which a column is shown; 0.25 and more is another distribution."""


def _rule(field: dict[str, Any]) -> str:
    rules = (f"{name} {value}" for name, value in field.items() if name not in ("name", "kind"))
    return " ".join([field["kind"], *rules])


Reason = Annotated[str, typer.Option(help="Only rows with this text in their reason.")]
Origin = Annotated[str, typer.Option("--source", help="Only rows with this text in their source.")]


@data.command()
def quarantine(
    context: typer.Context,
    dataset: str,
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


@data.command()
def replay(
    context: typer.Context,
    dataset: str,
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
        show.OUT.print(f"  [yellow]{number:,}[/yellow] {'row' if number == 1 else 'rows'}: {show.cell(why)}")
    _beside(told)
    return show.hint(f"modelworks data quarantine {dataset}")


def _line(line: bytes, file: Path) -> Any:
    try:
        return loads(line)
    except JSONDecodeError as error:
        raise Invalid(f"{file} is not JSON Lines", str(error), "one object a line") from error


@data.command()
def tag(context: typer.Context, ref: str, tag: str) -> None:
    """Name a dataset version."""
    door: Door = context.obj
    told = door.call("tag", ref=ref, tag=tag)
    if door.json:
        return show.raw(told)
    show.OUT.print(f"{told['dataset']}@{tag} is version {told['version']}")
    return show.hint(f"modelworks data show {told['dataset']}@{tag}")
