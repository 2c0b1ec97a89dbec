"""The command that tells what models earn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from modelworks.cli.door import Door
from modelworks.console import terminal as show

_SHOWN = 10
"""Segments that are shown from each end."""
_MANY = 1000
"""Returns above that are not worth a number."""


def register(app: typer.Typer) -> None:
    """Put the command into the application."""
    app.command("value")(value)


def value(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help="Which model, with its months and segments.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only predictions from this time on, or of the last '30d'.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only predictions before this time.")] = None,
    by: Annotated[str, typer.Option(help="day or month.")] = "month",
) -> None:
    """What models earn beside their holdouts, less what computing cost."""
    door: Door = context.obj
    told = door.call("value", model=model, since=since, until=until, by=by)
    if door.json:
        return show.raw(told)
    show.table(
        "What models bring: by prediction with a 95 % interval that holds whenever you look, and in all",
        ["model", "by", "predictions#", "brings#", "earned#", "computing#", "pays"],
        [
            [one["model"], _BASIS[one["basis"]], one["rows"], _about(one), _money(one["earned"], one["unit"]),
             _money(one["cost"], one["unit"] or ""), one["verdict"]]
            for one in told["models"]
        ],
        "the project has no models",
    )  # fmt: skip
    if model is None:
        return _factory(told["factory"], told["models"])
    return _model(told, since is not None or until is not None)


def _factory(told: Mapping[str, Any], models: Sequence[Mapping[str, Any]]) -> None:
    for one in told["earned"]:
        between = "" if one["low"] is None else f" ({one['low']:,.0f} to {one['high']:,.0f})"
        show.note(
            f"together {_money(one['earned'], one['unit'])}{between}, "
            f"computing {_money(told['cost'], one['unit'])}"
        )
    if told["not_paying"]:
        show.note(f"[yellow]these do not pay: {show.cell(', '.join(told['not_paying']))}[/yellow]")
    paid = [one["model"] for one in models if one["unit"]]
    show.hint(
        f"modelworks value {paid[0]}" if paid else "value=mw.Payoff(...) in @mw.model, then modelworks apply"
    )


def _model(told: Mapping[str, Any], some: bool) -> None:
    one = told["models"][0]
    unit = one["unit"] or ""
    held = one["basis"] == "holdout"
    show.table(
        "By time",
        ["", "predictions#", "worth#", *(["held out#", "worth#"] if held else []), "brings#", "earned#"],
        [
            [span["span"], span["rows"], _small(span["mean"]),
             *([span["held"], _small(span["held_mean"])] if held else []), _about(span), _money(span["earned"], "")]
            for span in told["spans"]
        ],
        "no prediction of that time has an outcome" if some else "no outcome has come yet",
    )  # fmt: skip
    segments = told["segments"]
    if len(segments) > 1:
        shown = segments if len(segments) <= 2 * _SHOWN else [*segments[:_SHOWN], *segments[-_SHOWN:]]
        title = (
            "Segments"
            if shown is segments
            else f"Of {len(segments)} segments those that bring most and least"
        )
        show.table(
            title,
            ["segment", "predictions#", *(["held out#"] if held else []), "brings#", "earned#", "trained#",
             "computing#", *(["surely"] if held else [])],
            [
                [part["segment"] or "(all)", part["rows"], *([part["held"]] if held else []), _about(part),
                 _money(part["earned"], ""), part["trainings"], _money(part["cost"], ""),
                 *([part["surely"]] if held else [])]
                for part in shown
            ],
        )  # fmt: skip
    for line in _said(one, unit):
        show.note(line)
    if some and not told["spans"]:
        return show.hint(f"modelworks value {one['model']}   (of all times)")
    return show.hint(
        _NEXT[one["basis"]].replace("MODEL", one["model"])
        if one["unit"]
        else "value=mw.Payoff(...) in @mw.model"
    )


def _said(one: Mapping[str, Any], unit: str) -> list[str]:
    """What the numbers mean, in words."""
    if one["basis"] == "nothing":
        return []
    spent = one["seconds"]
    lines = []
    if one["earned"] is not None and one["earned_low"] is not None:
        times = one["return"]
        lines.append(
            f"net {_money(one['net'], unit)} ({one['earned_low'] - one['cost']:,.0f} to "
            f"{one['earned_high'] - one['cost']:,.0f})"
            + ("" if times is None or times > _MANY else f", {times:,.1f} times what computing cost")
        )
    lines.append(
        "computing: "
        + ", ".join(
            f"{what} {show.seconds(spent[kind])}" for kind, what in _WORK.items() if spent[kind] >= 0.1
        )
    )
    if one["basis"] == "holdout":
        if one["holdout_cost"] is not None:
            lines.append(f"to know that, {_money(one['holdout_cost'], unit)} were left to the holdout")
    else:
        lines.append(
            "[yellow]counted as if answers changed nothing but who acts[/yellow]; a holdout shows whether that is so"
        )
    if one["feedback"]:
        lines.append(
            "[yellow]answers change what happens: mw.Payoff takes what was prevented for a false alarm[/yellow]; count "
            "what came instead, by mw.Worth"
        )
    return lines


_BASIS = {"holdout": "holdout", "counted": "counting", "nothing": None}
_WORK = {"train": "training", "serve": "answering", "watch": "watching"}
_NEXT = {
    "holdout": "modelworks monitor MODEL, modelworks simulate MODEL",
    "counted": "control=mw.Holdout(share=5) in @mw.model, then modelworks apply",
    "nothing": "modelworks apply, once outcomes were sent to /outcomes",
}


def _about(one: Mapping[str, Any]) -> str | None:
    """What a row brings, and how far off that may be."""
    if one["each"] is None:
        return None
    if one["low"] is None:
        return _small(one["each"])
    return f"{one['each']:+,.2f} ± {(one['high'] - one['low']) / 2:,.2f}"


def _small(value: float | None) -> str | None:
    return None if value is None else f"{value:,.2f}"


def _money(value: float | None, unit: str) -> str | None:
    if value is None:
        return None
    if 0 < abs(value) < 0.005:
        return f"under 0.01 {unit}".rstrip()
    return f"{value:,.{0 if abs(value) >= 100 else 2}f} {unit}".rstrip()
