"""Commands about runs: find them, look at one, compare, put out of sight."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from modelworks.cli.arguments import Limit
from modelworks.cli.door import Door
from modelworks.console import terminal as show

runs = typer.Typer(help="Runs: list, show, compare.", no_args_is_help=True)

Query = Annotated[
    str, typer.Argument(help="For instance: metrics.auc > 0.8 and params.depth = 6. Or only a name.")
]
Ids = Annotated[list[str], typer.Argument(help="Ids, or how they begin.")]
_FEW = 4
"""Metrics and parameters of a run that are shown in a list."""
_SYSTEM = "system."


def register(app: typer.Typer) -> None:
    """Put the commands into the application."""
    app.add_typer(runs, name="runs")


@runs.command("list")
def runs_list(
    context: typer.Context,
    query: Query = "",
    sort: Annotated[str, typer.Option(help="By what to order: 'metrics.auc desc'.")] = "",
    limit: Limit = 20,
    deleted: Annotated[bool, typer.Option("--deleted", help="Look among those put out of sight.")] = False,
) -> None:
    """The runs that a query asks for, or the newest."""
    door: Door = context.obj
    if re.fullmatch(r"[A-Za-z][\w.-]*", query):
        query = f"name = '{query}'"
    if sort:
        query = f"{query} order by {sort}"
    rows = door.call("runs", where=query, limit=limit, deleted=deleted)
    if door.json:
        return show.raw(rows)
    grouped = any(row["experiment"] for row in rows)
    show.table(
        "Runs",
        [
            "id",
            "name",
            *(["experiment"] if grouped else []),
            "segment",
            "status",
            "metrics",
            "params",
            "when",
        ],
        [
            [
                row["id"],
                row["name"],
                *([row["experiment"]] if grouped else []),
                row["segment"],
                row["status"],
                _few(row["metrics"]),
                _few(row["params"]),
                show.when(row["started"]),
            ]
            for row in rows
        ],
        "nothing found" if query else "nothing yet",
    )
    if len(rows) >= 2:
        return show.hint(f"modelworks runs compare {rows[0]['id']} {rows[1]['id']}")
    return show.hint(
        "modelworks runs show ID, or modelworks runs list 'metrics.auc > 0.8' --sort 'metrics.auc desc'"
    )


@runs.command("show")
def runs_show(
    context: typer.Context, id: Annotated[str, typer.Argument(help="Id, or how it begins.")]
) -> None:
    """One run: parameters, metrics with their course, artifacts, where it came from."""
    door: Door = context.obj
    told = door.call("run", id=id)
    several = any(count > 1 for count in told["points"].values())
    courses = door.call("course", id=told["id"], points=200) if several else {}
    if door.json:
        return show.raw({**told, "courses": courses})
    source = told["source"] or {}
    commit = f"{source['commit'][:12]} ({source['branch']})" if source.get("commit") else None
    changed = ", with changes" if source.get("dirty") else ""
    show.facts(
        [
            ("run", told["id"]),
            ("name", told["name"]),
            ("experiment", told["experiment"]),
            ("segment", told["segment"]),
            ("part of", told["parent"]),
            ("status", told["status"]),
            ("error", told["error"]),
            ("made", told["made"]),
            ("data", f"{told['dataset']}@{told['dataset_version']}" if told["dataset"] else None),
            ("started", show.when(told["started"])),
            ("took", None if told["duration"] is None else show.seconds(told["duration"])),
            ("tags", " ".join(f"{name}={value}" for name, value in told["tags"].items())),
            ("note", told["note"]),
            ("git", f"{commit}{changed}" if commit else None),
            ("python", source.get("python")),
            ("script", source.get("script")),
            ("by", "@".join(part for part in (source.get("user"), source.get("host")) if part)),
            ("artifacts", ", ".join(told["artifacts"])),
        ]
    )
    own = {name: value for name, value in told["metrics"].items() if not name.startswith(_SYSTEM)}
    system = {
        name.removeprefix(_SYSTEM): v for name, v in told["metrics"].items() if name.startswith(_SYSTEM)
    }
    if told["params"]:
        show.table("Parameters", ["name", "value"], [[name, value] for name, value in told["params"].items()])
    for title, metrics, prefix in (("Metrics", own, ""), ("System", system, _SYSTEM)):
        if metrics:
            show.table(
                title,
                ["name", "value#", "points#", "course"],
                [
                    [
                        name,
                        value,
                        told["points"].get(prefix + name),
                        show.course([point["value"] for point in courses.get(prefix + name, [])]) or " ",
                    ]
                    for name, value in metrics.items()
                ],
            )
    for child in told["children"]:
        show.note(f"part of it: {child['id']} {show.cell(child['name'])} {child['status']}")
    if told["made"]:
        return show.hint(f"modelworks lineage run:{told['id']}")
    if told["artifacts"]:
        return show.hint(f"modelworks runs artifact {told['id']} {next(iter(told['artifacts']))}")
    return show.hint(f"modelworks runs compare {told['id']} ID")


@runs.command("experiments")
def runs_experiments(
    context: typer.Context,
    limit: Limit = 50,
    deleted: Annotated[bool, typer.Option("--deleted", help="Look among those put out of sight.")] = False,
) -> None:
    """The experiments, the newest first, with the number of their runs."""
    door: Door = context.obj
    rows = door.call("experiments", limit=limit, deleted=deleted)
    if door.json:
        return show.raw(rows)
    show.table(
        "Experiments",
        ["number#", "name", "runs#", "tags", "since"],
        [
            [
                row["id"],
                row["name"],
                row["runs"],
                " ".join(f"{name}={value}" for name, value in row["tags"].items()),
                show.when(row["created"]),
            ]
            for row in rows
        ],
        "nothing yet",
    )
    return show.hint("modelworks runs list \"experiment = 'NAME'\"")


@runs.command("compare")
def runs_compare(
    context: typer.Context,
    ids: Ids,
    all: Annotated[bool, typer.Option("--all", help="Also what is the same.")] = False,
) -> None:
    """Runs side by side: in what they differ."""
    door: Door = context.obj
    told = door.call("compare", ids=",".join(ids))
    if door.json:
        return show.raw(told)
    heads = told["runs"]
    rows: list[list[Any]] = [
        ["name", *(run["name"] for run in heads)],
        ["status", *(run["status"] for run in heads)],
        ["started", *(show.when(run["started"]) for run in heads)],
        ["took", *(None if run["duration"] is None else show.seconds(run["duration"]) for run in heads)],
    ]
    fields = [row for row in told["fields"] if all or row["differ"]]
    rows += [[row["field"], *(_short(value) for value in _cells(row))] for row in fields]
    show.table("Runs side by side", ["", *(run["id"][-10:] for run in heads)], rows)
    same = len(told["fields"]) - len(fields)
    if same:
        show.note(f"{same} more are the same in all (--all shows them)")
    return show.hint(f"modelworks runs show {heads[0]['id']}")


@runs.command("artifact")
def runs_artifact(
    context: typer.Context,
    id: Annotated[str, typer.Argument(help="Id of the run, or how it begins.")],
    name: Annotated[str, typer.Argument(help="Name of the artifact.")],
    to: Annotated[Path | None, typer.Option(help="File to write; its name, in the current folder.")] = None,
) -> None:
    """Write an artifact of a run into a file."""
    door: Door = context.obj
    content = door.artifact(id, name)
    place = to or Path(Path(name).name)
    place.write_bytes(content)
    if door.json:
        return show.raw({"file": str(place), "bytes": len(content)})
    show.OUT.print(f"{show.cell(str(place))}: {len(content):,} bytes")
    return show.hint(f"modelworks runs show {id}")


@runs.command("delete")
def runs_delete(context: typer.Context, ids: Ids) -> None:
    """Put runs out of sight, their children with them; nothing is lost."""
    _marked(context, "delete_runs", ids, "out of sight", "restore")


@runs.command("restore")
def runs_restore(context: typer.Context, ids: Ids) -> None:
    """Bring runs back that were put out of sight."""
    _marked(context, "restore_runs", ids, "back", "show")


def _marked(context: typer.Context, verb: str, ids: list[str], done: str, following: str) -> None:
    door: Door = context.obj
    told = door.call(verb, ids=ids)
    if door.json:
        return show.raw(told)
    show.OUT.print(f"{next(iter(told.values()))} runs are {done}")
    return show.hint(f"modelworks runs {following} {ids[0]}")


@runs.command("send")
def runs_send(context: typer.Context) -> None:
    """Send to the server what runs of this folder could not send while it did not answer."""
    door: Door = context.obj
    sent = door.send_runs()
    if door.json:
        return show.raw({"sent": sent})
    show.OUT.print(f"{sent} entries sent" if sent else "nothing waits")
    return show.hint("modelworks runs list")


def _few(values: dict[str, Any]) -> str:
    """Some of the values, the rest as a number."""
    shown = [name for name in values if not name.startswith(_SYSTEM)]
    text = " ".join(f"{name} {_short(values[name])}" for name in shown[:_FEW])
    return f"{text} +{len(shown) - _FEW}" if len(shown) > _FEW else text


def _cells(row: dict[str, Any]) -> list[Any]:
    """The values of a row of the comparison; digests are shortened."""
    return [
        value[:12] if isinstance(value, str) and re.fullmatch("[0-9a-f]{40,64}", value) else value
        for value in row["values"]
    ]


def _short(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
