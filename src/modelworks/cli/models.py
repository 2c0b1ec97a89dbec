"""Commands about models: train, plan, apply, versions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from modelworks.cli.arguments import Limit, Model, OneModel, Ref
from modelworks.cli.door import Door
from modelworks.console import terminal as show

models = typer.Typer(help="Models and their versions: list, show, import, archive.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Put the commands into the application."""
    for command in (train, tune, plan, apply, gc):
        app.command(command.__name__)(command)
    app.add_typer(models, name="models")


def train(
    context: typer.Context,
    model: Model = None,
    segment: Annotated[
        list[str] | None, typer.Option(help="Only these segments, for instance UA,EWR.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Train again on the same data with the same code.")
    ] = False,
    scratch: Annotated[
        bool, typer.Option("--scratch", help="Begin anew, also where a model goes on from its champion.")
    ] = False,
) -> None:
    """Train a model for every segment with enough rows; judge, and bring out what passes its gates."""
    door: Door = context.obj
    reports = door.watched("train", model=model, segments=segment or None, force=force, scratch=scratch)
    if door.json:
        show.raw(reports)
    else:
        _trained(reports)
        begun = any(report["begun"] for report in reports)
        _next(reports, "modelworks rollouts" if begun else "modelworks up   (serve), modelworks models list")
    if any(r["trained"] and not (r["promoted"] or r["begun"] or r["waiting"]) for r in reports):
        raise typer.Exit(3)


def tune(
    context: typer.Context,
    model: OneModel,
    segment: Annotated[
        list[str] | None, typer.Option(help="Only these segments, for instance UA,EWR.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Trials of a search, at most.", min=1)] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes, at most.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of all chance; the definition's by default.")] = None,
) -> None:
    """Search for better parameters of a model; later trainings use them."""
    door: Door = context.obj
    told = door.watched(
        "tune", model=model, segments=segment or None, trials=trials, minutes=minutes, seed=seed
    )
    if door.json:
        return show.raw(told)
    show.table(
        f"Tuned by {told['metric']}",
        ["segment", "trials#", "pruned#", "failed#", "before#", "best#", "parameters", "run"],
        [
            [r["segment"] or "(all)", r["trials"], r["pruned"], r["failed"], r["before"], r["best"],
             "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in r["params"].items())
             or r["error"], r["run"]]
            for r in told["searches"][:50]
        ],
        "no segment has enough rows",
    )  # fmt: skip
    if len(told["searches"]) > 50:
        show.note(f"and {len(told['searches']) - 50} more; --json shows all")
    show.note(f"{told['new']} new trials in {show.seconds(told['seconds'])}")
    return show.hint(f"modelworks train {model}, or modelworks runs list \"kind = 'trial'\"")


def _trained(reports: list[dict[str, Any]]) -> None:
    counts = [
        name
        for name in ("trained", "compiled", "promoted", "begun", "refused", "waiting", "failed")
        if name in ("trained", "promoted") or any(report[name] for report in reports)
    ]
    show.table(
        "Trained",
        ["model", "data", *(f"{name}#" for name in counts), "time#"],
        [
            [r["model"], r["dataset"], *(r[name] for name in counts), show.seconds(r["seconds"])]
            for r in reports
        ],
    )
    for report in reports:
        if report["skipped"]:
            show.note(f"{report['skipped']} segments were done already on this data (--force repeats them)")
        for segment, error in list(report["failures"].items())[:5]:
            show.note(f"[yellow]{show.cell(segment or 'all')}[/yellow]: {show.cell(error)}")


def plan(context: typer.Context, model: Model = None) -> None:
    """What the policies would train now, and why; changes nothing."""
    door: Door = context.obj
    rows = door.call("plan", model=model)
    if door.json:
        return show.raw(rows)
    show.table(
        "Plan",
        ["model", "segment", "action", "because"],
        [[r["model"], ",".join(r["segment"]) or "(all)", r["action"], r["reason"]] for r in rows[:50]],
        "nothing to do",
    )
    if len(rows) > 50:
        show.note(f"and {len(rows) - 50} more; --json shows all")
    return show.hint("modelworks apply")


def apply(context: typer.Context, model: Model = None) -> None:
    """One turn of the loop: ingest, watch, decide, train, judge, bring out."""
    door: Door = context.obj
    told = door.watched("apply", model=model)
    if door.json:
        show.raw(told)
    else:
        _turned(told)
    if told["failed"]:
        raise typer.Exit(1)


def _turned(told: dict[str, Any]) -> None:
    added = sum(report["rows_added"] for report in told["ingested"])
    wanted = [d for d in told["decisions"] if d["action"] == "train"]
    show.facts(
        [
            ("rows ingested", added),
            ("log entries moved", told["drained"]),
            ("alerts opened", told["alerts"]),
            ("rollouts moved", len(told["rollouts"])),
            ("decided to train", len(wanted)),
            *[(f"{one['model']} learned from", f"{one['rows']:,} outcomes") for one in told["learned"]],
            *[(f"{name} was not turned", why) for name, why in told["failed"].items()],
            ("time", show.seconds(sum(told["seconds"].values()))),
        ]
    )
    if told["trained"]:
        _trained(told["trained"])
    _next(told["trained"], "modelworks incidents" if told["alerts"] else "modelworks decisions")


def _next(reports: list[dict[str, Any]], otherwise: str) -> None:
    """What a person does next: say yes or no to what waits, before anything else."""
    waits = [ref for report in reports for ref in report["waits"]]
    if not waits:
        return show.hint(otherwise)
    more = f"   ({len(waits) - 1} more wait: modelworks approve)" if len(waits) > 1 else ""
    return show.hint(f"modelworks approve '{waits[0]}', or modelworks reject '{waits[0]}'{more}")


@models.command("list")
def models_list(context: typer.Context) -> None:
    """Every model, with its segments, versions and champions."""
    door: Door = context.obj
    rows = door.call("models")
    if door.json:
        return show.raw(rows)
    show.table(
        "Models",
        ["name", "predicts", "a model for each", "live#", "versions#", "segments#"],
        [
            [r["name"], r["target"], ", ".join(r["per"]), r["champions"], r["versions"], r["segments"]]
            for r in rows
        ],
        "none is defined; see @mw.model in factory.py",
    )
    return show.hint("modelworks models show NAME, modelworks models show 'NAME[SEGMENT]'")


@models.command("show")
def models_show(context: typer.Context, ref: Ref, limit: Limit = 20) -> None:
    """A model, one of its segments, or a version."""
    door: Door = context.obj
    told = door.call("model", ref=ref)
    if door.json:
        return show.raw(told)
    summary = told["model"]
    show.facts(
        [
            ("model", told["ref"]),
            ("predicts", f"{summary['target']} from {summary['dataset']}" if summary["dataset"] else None),
            ("features", ", ".join(summary["features"])),
            ("a model for each", ", ".join(summary["per"])),
            ("gates", "; ".join(summary["definition"].get("gate", []))),
            ("retrain", "; ".join(summary["definition"].get("retrain", []))),
            *show.labels(told["labels"]),
        ]
    )
    if "versions" not in told:
        rows = door.call("deployments", model=summary["name"], limit=limit)
        show.table(
            "Live, the newest change first",
            ["segment", "version#", "metrics", "since", "because"],
            [
                [
                    r["segment"] or "(all)",
                    r["version"],
                    show.metrics(r["metrics"]),
                    show.when(r["updated"]),
                    r["reason"],
                ]
                for r in rows
            ],
        )
        return show.hint(f"modelworks models show '{summary['name']}[SEGMENT]'")
    named = told["aliases"].items()
    show.table(
        "Versions",
        ["version#", "", "metrics", "data", "served", "when"],
        [
            [
                v["version"],
                ", ".join(
                    [
                        *(name for name, number in named if number == v["version"]),
                        *(["archived"] if v["archived"] else []),
                    ]
                ),
                show.metrics(v["metrics"]),
                v["dataset"],
                v["served"],
                show.when(v["created"]),
            ]
            for v in told["versions"]
        ],
    )
    if version := told.get("version"):
        said = [(name, value) for name, value in show.labels(version["labels"]) if value]
        if version["served"] == "kept":
            said.append(("not served", version["proof"]["reason"]))
        if said:
            show.facts([("version", version["ref"]), *said])
    for verdict in told.get("verdicts", []):
        mark = "[green]passed[/green]" if verdict["passed"] else "[red]refused[/red]"
        show.note(f"{mark} {show.cell(verdict['gate'])}: {show.cell(verdict['reason'])}")
    here = told["ref"].split("@")[0]
    if (waits := told["aliases"].get("candidate")) is not None:
        return show.hint(f"modelworks approve '{here}@{waits}', or modelworks reject '{here}@{waits}'")
    return show.hint(f"modelworks deploy '{here}@VERSION', modelworks rollback '{here}'")


@models.command("import")
def models_import(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A folder of MLflow's, or a file.")],
    name: Annotated[str | None, typer.Option(help="Name of the model; that of the file by default.")] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="I know who made it: it may be a pickle, which can run any code.")
    ] = False,
    example: Annotated[
        Path | None,
        typer.Option(help="Rows that it can answer (.parquet, .csv, .json), to prove its compiled form."),
    ] = None,
) -> None:
    """Make a version of a model that was made elsewhere: MLflow, ONNX, skops, LightGBM, XGBoost, PyTorch, pickle."""
    door: Door = context.obj
    with door.factory() as factory:
        told = factory.import_model(path, name, trust, example)
    if door.json:
        return show.raw(told)
    brought_in(told)
    return show.hint(f"modelworks deploy '{told['ref']}'")


def brought_in(told: dict[str, Any]) -> None:
    """What became of a model that was made elsewhere."""
    show.facts(
        [
            ("version", told["ref"]),
            ("from", told["format"]),
            ("answers", told["task"]),
            ("takes", ", ".join(told["inputs"])),
            ("served", "compiled" if told["compiled"] else f"natively: {told['proof']['reason']}"),
        ]
    )


@models.command("archive")
def models_archive(context: typer.Context, ref: Ref) -> None:
    """Put a version away: it stays on record, may not be deployed, and `gc` may let its model go."""
    door: Door = context.obj
    told = door.call("archive", ref=ref)
    if door.json:
        return show.raw(told)
    show.OUT.print(f"{show.cell(told['ref'])} is archived")
    return show.hint(f"modelworks models restore '{told['ref']}', modelworks gc --dry-run")


@models.command("restore")
def models_restore(context: typer.Context, ref: Ref) -> None:
    """Bring an archived version back, as long as its model was not let go."""
    door: Door = context.obj
    told = door.call("restore", ref=ref)
    if door.json:
        return show.raw(told)
    show.OUT.print(f"{show.cell(told['ref'])} is back")
    return show.hint(f"modelworks deploy '{told['ref']}'")


def gc(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    grace: Annotated[str, typer.Option(help="How old an artifact has to be that nothing refers to.")] = "1h",
) -> None:
    """Delete artifacts that nothing refers to, and what killed trainings left; safe beside running trainings."""
    door: Door = context.obj
    told = door.call("gc", dry_run=dry_run, grace=grace)
    if door.json:
        return show.raw(told)
    show.facts(
        [
            ("would be deleted" if dry_run else "deleted", f"{told['artifacts']:,} artifacts"),
            ("halves of artifacts", told["parts"]),
            ("folders of killed trainings", told["folders"]),
            ("space", f"{told['bytes'] / 1e6:,.1f} MB"),
            ("kept", f"{told['kept']:,} that something refers to, {told['young']:,} that are too young"),
        ]
    )
    return show.hint("modelworks gc" if dry_run else "modelworks models archive REF lets more go")
