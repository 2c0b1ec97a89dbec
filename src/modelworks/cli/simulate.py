"""The command that tries policies of retraining on the past."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from modelworks.cli.arguments import OneModel
from modelworks.cli.door import Door
from modelworks.console import terminal as show


def register(app: typer.Typer) -> None:
    """Put the command into the application."""
    app.command("simulate")(simulate)


def simulate(
    context: typer.Context,
    model: OneModel,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="never, declared, every=7d, rows=5000, outcomes=200, data, drift, drift=0.5, decay, decay=0.1, "
            "detector=adwin, gain=20/0.05, or several joined by '+' (decay+siblings takes siblings along); again for "
            "another one."
        ),
    ] = None,
    since: Annotated[str | None, typer.Option(help="When the first models are trained.")] = None,
    until: Annotated[str | None, typer.Option(help="Where the past ends.")] = None,
    every: Annotated[str, typer.Option(help="Time between two turns of the loop.")] = "1d",
    delay: Annotated[
        str | None, typer.Option(help="How long after its event the truth is known; as it came by default.")
    ] = None,
    months: Annotated[bool, typer.Option("--months", help="Tell each month of each policy.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write a page with pictures there, an HTML file.")] = None,
) -> None:
    """Try policies of retraining on the logged past: quality, trainings, cost and value of each."""
    door: Door = context.obj
    told = door.watched(
        "simulate", model=model, policies=policy or [], since=since, until=until, every=every, delay=delay
    )
    if out is not None:
        from modelworks.console.simulation import page

        out.write_text(page(told), encoding="utf-8")
    if door.json:
        return show.raw(told)
    courses = told["courses"]
    main = next(iter(courses[0]["spans"][-1]["metrics"]))
    rows = courses[0]["spans"][-1]["rows"]
    show.table(
        f"{told['model']} from {told['since'][:10]} to {told['until'][:10]}, {rows:,} predictions",
        ["policy", *(f"{name}#" for name in courses[0]["spans"][-1]["metrics"]), f"against {courses[0]['policy']}#",
         *([f"{told['unit']}#"] if told["unit"] else []), "trained#", "promoted#", "worker#"],
        [_row(course, told["unit"]) for course in courses],
    )  # fmt: skip
    for course in courses if months else ():
        show.table(
            f"{course['policy']}, by month",
            ["month", "answers#", *(f"{name}#" for name in courses[0]["spans"][-1]["metrics"]),
             f"against {courses[0]['policy']}#", *([f"{told['unit']}/row#", "more#"] if told["unit"] else []),
             "trained#", "worker#"],
            [_month(span, bool(told["unit"])) for span in course["spans"]],
        )  # fmt: skip
    show.table(
        f"{main} by month",
        ["policy", *(f"{span['name'][2:]}#" for span in courses[0]["spans"][:-1])],
        [
            [course["policy"], *(_short(span["metrics"][main]) for span in course["spans"][:-1])]
            for course in courses
        ],
    )
    beaten = [course["policy"] for course in courses if not course["efficient"]]
    if beaten:
        show.note(f"beaten by another one that trains no more: {show.cell(', '.join(beaten))}")
    if out is not None:
        show.note(f"the pictures are in {show.cell(out)}")
    return show.hint("write the triggers into retrain= of @mw.model, then modelworks plan")


def _row(course: Mapping[str, Any], unit: str) -> list[Any]:
    whole = course["spans"][-1]
    return [
        course["policy"], *(_short(value) for value in whole["metrics"].values()), _against(whole["apart"], 4),
        *([f"{whole['value']:,.0f}"] if unit else []), whole["trained"], whole["promoted"],
        show.seconds(whole["seconds"]),
    ]  # fmt: skip


def _month(span: Mapping[str, Any], valued: bool) -> list[Any]:
    return [
        span["name"], span["rows"], *(_short(value) for value in span["metrics"].values()), _against(span["apart"], 4),
        *([f"{span['value'] / span['rows']:,.2f}" if span["rows"] else None, _against(span["gain"], 2)]
          if valued else []),
        span["trained"], show.seconds(span["seconds"]),
    ]  # fmt: skip


def _against(apart: Mapping[str, float | None] | None, digits: int) -> str | None:
    """A difference with its interval, which a single day has not."""
    if apart is None:
        return None
    if apart["low"] is None or apart["high"] is None:
        return f"{apart['mean']:+.{digits}f}"
    return f"{apart['mean']:+.{digits}f} ±{(apart['high'] - apart['low']) / 2:.{digits}f}"


def _short(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"
