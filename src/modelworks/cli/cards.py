"""Commands about model versions: the card of one, two side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from modelworks.cli.arguments import Ref
from modelworks.cli.door import Door
from modelworks.cli.models import models
from modelworks.console import terminal as show


def register(_app: typer.Typer) -> None:
    """Put the commands beside the others about models."""
    models.command("card")(card)
    models.command("compare")(compare)


def card(
    context: typer.Context,
    ref: Ref,
    html: Annotated[bool, typer.Option("--html", help="One HTML file that needs nothing else.")] = False,
    md: Annotated[bool, typer.Option("--md", help="Markdown; so it is by default.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write it there; by its ending .html or .md.")] = None,
) -> None:
    """The card of a version: on what data, how good, on which parts, its limits, its value."""
    from modelworks.console.card import page

    door: Door = context.obj
    if html and md:
        raise typer.BadParameter("choose one of --html and --md")
    told = door.call("card", ref=ref)
    if door.json:
        return show.raw(told)
    as_html = html or (not md and out is not None and out.suffix.lower() in (".html", ".htm"))
    text = page(told, "html" if as_html else "md")
    if out is None:
        return print(text)
    out.write_text(text, encoding="utf-8")
    show.OUT.print(f"{show.cell(told['ref'])} has its card in {show.cell(out)}")
    return show.hint(f"modelworks models compare '{told['ref']}' REF")


def compare(context: typer.Context, before: Ref, after: Ref) -> None:
    """Two versions side by side: on the same rows, and in what they differ."""
    door: Door = context.obj
    told = door.call("compare_models", before=before, after=after)
    if door.json:
        return show.raw(told)
    one, other = told["before"]["ref"], told["after"]["ref"]
    _metrics(told, one, other)
    _changed("Params", told["params"], one, other)
    _changed("Inputs", told["inputs"], one, other)
    data, between = told["data"], told["data"]["between"]
    facts: list[tuple[str, Any]] = [
        (
            "data",
            f"{_source(data['before'])} -> {_source(data['after'])}",
        ),
        (
            "between",
            None if between is None else f"{between['added']:,} rows added, {between['replaced']:,} replaced",
        ),
        ("served", f"{told['before']['served']} -> {told['after']['served']}"),
        ("code", "the same" if told["code"]["same"] else "another, see below"),
    ]
    show.facts(facts)
    _changed("Environment", told["environment"], one, other)
    _verdicts(told["verdicts"], one, other)
    if told["code"]["diff"]:
        for line in told["code"]["diff"].splitlines():
            style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "dim")
            show.OUT.print(show.cell(line), style=style)
    return show.hint(f"modelworks models card '{other}' --out card.html")


def _metrics(told: dict[str, Any], one: str, other: str) -> None:
    same = told["same_rows"]
    rows = []
    for name, seen in same["metrics"].items():
        bounds = seen["difference_interval"]
        better = seen["difference"] is not None and (seen["difference"] > 0) == seen["greater_is_better"]
        word = "" if not seen["difference"] else "better" if better else "worse"
        reach = "" if bounds is None else f"{show.cell(bounds[0])} to {show.cell(bounds[1])}"
        rows.append([name, seen["beside"], seen["value"], seen["difference"], reach, word])
    if rows:
        heads = ["metric", f"{one}#", f"{other}#", "difference#", "95 % interval", ""]
        show.table(f"On the same {same['rows']:,} held-out rows of {other}", heads, rows)
    else:
        show.note(f"[dim]not on the same rows: {show.cell(same['why'] or 'no metric')}[/dim]")
    show.table(
        "As recorded, each on its own held-out rows",
        ["metric", f"{one}#", f"{other}#"],
        [[name, value["before"], value["after"]] for name, value in told["metrics"].items()],
    )


def _verdicts(verdicts: dict[str, Any], one: str, other: str) -> None:
    """What the gates said of both, and why of the other one."""
    marks = {True: "passed", False: "refused", None: None}
    before = {verdict["gate"]: verdict["passed"] for verdict in verdicts["before"]}
    after = {verdict["gate"]: verdict for verdict in verdicts["after"]}
    rows = []
    for gate in dict.fromkeys([*before, *after]):
        seen = after.get(gate, {"passed": None, "reason": ""})
        rows.append([gate, marks[before.get(gate)], marks[seen["passed"]], seen["reason"]])
    show.table("Gates", ["", one, other, f"because, of {other}"], rows, "none judged them")


def _changed(title: str, changes: dict[str, Any], one: str, other: str) -> None:
    if changes:
        rows = [[name, value["before"], value["after"]] for name, value in changes.items()]
        show.table(f"{title} that differ", ["", one, other], rows)
    else:
        show.OUT.print(f"{title}: [dim]the same[/dim]")


def _source(data: dict[str, Any] | None) -> str:
    return "not known" if data is None else f"{data['ref']} ({data['rows']:,} rows)"
