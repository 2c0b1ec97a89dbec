"""Commands about data."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modelworks.cli import ingest, quarantine, upkeep
from modelworks.cli.arguments import DataRef
from modelworks.cli.door import Door
from modelworks.console import terminal as show

data = typer.Typer(help="Datasets: look, compare, keep, tidy.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Put the commands into the application."""
    ingest.register(app)
    quarantine.register(data)
    upkeep.register(app, data)
    app.add_typer(data, name="data")


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
def show_(context: typer.Context, ref: DataRef) -> None:
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
    ingest.noted(newest)
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
def profile(context: typer.Context, ref: DataRef) -> None:
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
def diff(context: typer.Context, before: DataRef, after: DataRef) -> None:
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


@data.command()
def tag(
    context: typer.Context,
    ref: DataRef,
    tag: Annotated[str, typer.Argument(help="What it is called from now on.")],
) -> None:
    """Name a dataset version."""
    door: Door = context.obj
    told = door.call("tag", ref=ref, tag=tag)
    if door.json:
        return show.raw(told)
    show.OUT.print(f"{told['dataset']}@{tag} is version {told['version']}")
    return show.hint(f"modelworks data show {told['dataset']}@{tag}")
