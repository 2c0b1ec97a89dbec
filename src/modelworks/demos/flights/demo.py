"""`modelworks demo flights`: a year in a few minutes.

Models are trained on January and February. Then March to December pass day by day: a booking page asks the
server before every departure, outcomes follow, the day's file arrives, and the factory takes its turn.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from modelworks.console.terminal import seconds, why_tree
from modelworks.core.clock import FrozenClock
from modelworks.core.plain import plain
from modelworks.core.ref import Segment
from modelworks.demos.flights import feed, prepare
from modelworks.demos.flights.replay import Booking
from modelworks.demos.flights.report import ARMS, Month, frozen_scores, months
from modelworks.demos.folder import make
from modelworks.factory import Factory
from modelworks.models.package import Package
from modelworks.pipelines.apply import ApplyReport
from modelworks.sdk.process import start

MARCH = date(2013, 3, 1)


@dataclass(frozen=True)
class Report:
    """What a person wants to know of the year."""

    models_live: int
    models_at_start: int
    versions: int
    predictions: int
    retrainings: Mapping[str, int]
    promotions: int
    refusals: int
    failures: int
    graduated: int
    alerts: int
    months: list[Month]
    why: list[Any]
    seconds: Mapping[str, float]


def run(
    folder: Path, *, exit_after: bool, port: int, days: int, quiet: bool, streamed: bool = False
) -> Report:
    """Run the demo.

    Args:
        folder: Where to build the project; what an earlier demo left there is removed.
        exit_after: End when the year is over; else serve until Ctrl-C.
        port: Port of the server; 0 lets the system choose.
        days: Days to replay.
        quiet: Print nothing.
        streamed: Whether flights come as messages of a stream instead of files.

    Raises:
        Conflict: the folder holds something else.
        NotReady: the flights, or the broker, are not installed.
    """
    console = Console(quiet=quiet, highlight=False)
    started = monotonic()
    laps = _Laps()
    columns = (
        TextColumn("{task.description:<34}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    console.print(
        "[bold]A year of New York's departures: will this flight arrive more than 15 minutes late?[/bold]"
    )
    with ExitStack() as opened, Progress(*columns, console=console, disable=quiet) as bars:
        task = bars.add_task("reading 336,776 flights", total=3, note="")
        with laps.lap("prepare"):
            make(folder, "modelworks.demos.flights.project", "[serve]\npoll = 0.2\n")
            raw = prepare.load()
            bars.advance(task)
            flights = prepare.prepared(raw)
            bars.advance(task)
            send = opened.enter_context(feed.stream(folder) if streamed else feed.files(folder))
            for month in (1, 2):
                send(prepare.of(flights, date(2013, month, 1), date(2013, month + 1, 1)), f"2013-{month:02d}")
            bars.advance(task)
        clock = FrozenClock(_midnight(MARCH))
        with Factory(folder, clock=clock, who="demo") as factory:
            task = bars.add_task("January and February: ingest", total=1, note="")
            with laps.lap("first ingest"):
                (ingested,) = factory.ingest()
                bars.update(task, completed=1, note=f"{ingested.rows_added:,} rows")
            task = bars.add_task("January and February: train", total=None, note="")
            with laps.lap("first training"):
                (first,) = factory.train(
                    progress=lambda _what, done, total, _left=None: bars.update(
                        task, completed=done, total=total
                    )
                )
                bars.update(task, note=f"{first.promoted} models live, {first.compiled} compiled and proven")
            february = {s: v.package for s, v in factory.stations.registry.champions("delay").items()}
            with start(folder, port=port) as server:
                task = bars.add_task("March to December: day by day", total=days, note="")
                replayed = _replay(
                    factory,
                    clock,
                    flights,
                    send,
                    server.port,
                    days,
                    laps,
                    lambda **said: bars.update(task, **said),
                )
                with laps.lap("report"):
                    told = _report(factory, flights, february, first.promoted, replayed, days)
                bars.stop()
                told = replace(told, seconds={**laps.seconds, "all": monotonic() - started})
                _print(console, told)
                if not exit_after:
                    url = server.url
                    console.print(
                        f"\n[bold]Console[/bold] {url}/   docs {url}/docs   still serving, Ctrl-C ends it"
                    )
                    console.print(f"[dim]next: modelworks --project {folder} models list[/dim]")
                    with suppress(KeyboardInterrupt):
                        signal.pause()
    return told


class _Laps:
    """Wall time by what was done."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def add(self, name: str, took: float) -> None:
        self.seconds[name] += took  # type: ignore[assignment]

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        begun = monotonic()
        yield
        self.add(name, monotonic() - begun)


@dataclass
class _Replayed:
    """What is collected while the days pass."""

    shown: dict[str, float] = field(default_factory=dict)
    triggers: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    alerts: int = 0


def _replay(
    factory: Factory,
    clock: FrozenClock,
    flights: pl.DataFrame,
    send: feed.Send,
    port: int,
    days: int,
    laps: _Laps,
    say: Any,
) -> _Replayed:
    """Let the days pass."""
    kept = _Replayed()
    booking = Booking("127.0.0.1", port)
    try:
        for number in range(days):
            today = MARCH + timedelta(days=number)
            here = prepare.of(flights, today, today + timedelta(days=1))
            with laps.lap("predictions and outcomes over HTTP"):
                kept.shown.update(booking.day(here, seed=number))
            send(here, str(today))
            clock.at = _midnight(today + timedelta(days=1))
            turn: ApplyReport = factory.apply()
            for step, took in turn.seconds.items():
                laps.add(step, took)
            kept.alerts += turn.alerts
            for decision in turn.decisions:
                if decision.action == "train":
                    kept.triggers[decision.trigger] += 1
            for campaign in turn.trained:
                kept.outcomes.update(
                    promoted=campaign.promoted, refused=campaign.refused, failed=campaign.failed
                )
            say(
                advance=1,
                note=f"{today:%d %b}  {len(kept.shown):,} predictions  {kept.outcomes['promoted']} promoted",
            )
    finally:
        booking.close()
    return kept


def _midnight(day: date) -> datetime:
    """When a New York day begins, in UTC (winter time; an hour more does not matter here)."""
    return datetime(day.year, day.month, day.day, 5, tzinfo=UTC)


def _report(
    factory: Factory,
    flights: pl.DataFrame,
    february: Mapping[Segment, Package],
    at_start: int,
    replayed: _Replayed,
    days: int,
) -> Report:
    """Put the living factory beside the frozen models and no model, on the same flights."""
    known = prepare.of(flights, date(2013, 1, 1), MARCH)
    rate = float(known["late"].mean())  # type: ignore[arg-type]
    arrived = prepare.of(flights, MARCH, MARCH + timedelta(days=days)).filter(pl.col("late").is_not_null())
    living = np.array([replayed.shown[name] for name in arrived["flight_id"]])
    scores = {
        "living": living,
        "frozen": frozen_scores(arrived, february, factory.stores.artifacts),
        "none": np.full(len(arrived), rate),
    }
    payoff = factory.project.model("delay").payoff
    assert payoff is not None
    now = plain(factory.status())
    factory.drain()
    recent = plain(factory.predictions("delay", 300))
    levels = {row["segment"].count(",") if row["segment"] else -1: row["id"] for row in recent}
    chosen = [levels[level] for level in sorted(levels, reverse=True)][:3]
    chosen += [row["id"] for row in recent if row["id"] not in chosen][: 3 - len(chosen)]
    return Report(
        models_live=now["live"],
        models_at_start=at_start,
        versions=now["versions"],
        predictions=len(replayed.shown),
        retrainings=dict(replayed.triggers.most_common()),
        promotions=replayed.outcomes["promoted"],
        refusals=replayed.outcomes["refused"],
        failures=replayed.outcomes["failed"],
        graduated=replayed.triggers["graduate"],
        alerts=replayed.alerts,
        months=months(arrived, scores, payoff),
        why=[plain(factory.why(identifier)) for identifier in chosen],
        seconds={},
    )


def _print(console: Console, told: Report) -> None:
    """The report, for people."""
    shown = [
        ("loss", "log_loss", ARMS, "{:.4f}"),
        ("AUC", "auc", ARMS[:2], "{:.3f}"),
        ("EUR", "value", ARMS, "{:.2f}"),
    ]
    # Narrow enough for a terminal of 80 characters.
    table = Table(header_style="dim", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    heads = [f"{head}\n{arm}" for head, _, arms, _ in shown for arm in arms]
    for head in ("\nmonth", "\nflights", "\nlate", *heads):
        table.add_column(head, justify="left" if head == "\nmonth" else "right", no_wrap=True)
    for month in told.months:
        cells = [month.month, f"{month.flights:,}", f"{month.late:.0%}"]
        for _, measure, arms, form in shown:
            values = [
                vars(month)[measure][arm] / (month.flights if measure == "value" else 1) for arm in arms
            ]
            best = min(values) if measure == "log_loss" else max(values)
            cells += [f"[green]{form.format(v)}[/green]" if v == best else form.format(v) for v in values]
        table.add_row(*cells, style="bold" if month.month == "all" else "")
    console.print("\n[bold]Was it worth it?[/bold] On the same flights, the best of each in green:")
    for line in (
        "living: this factory; frozen: February's models, never trained again; none: February's rate for all",
        "loss: log loss, lower is better; AUC: area under the ROC curve; EUR: a flight, acting where it pays",
    ):
        console.print(line, style="dim")
    console.print(table)
    reasons = ", ".join(f"{trigger} {number:,}" for trigger, number in told.retrainings.items())
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    for name, value in (
        ("models live", f"{told.models_live:,}, {told.models_at_start:,} of them after February"),
        ("versions made", f"{told.versions:,}"),
        ("trained again", f"{sum(told.retrainings.values()):,} times: {reasons}"),
        ("promoted", f"{told.promotions:,}"),
        ("refused by the gate", f"{told.refusals:,}, the champion stayed"),
        ("could not be trained", f"{told.failures:,}" if told.failures else ""),
        ("alerts opened", f"{told.alerts:,}"),
        ("predictions served", f"{told.predictions:,}"),
        ("time", seconds(told.seconds["all"])),
    ):
        if value:
            grid.add_row(name, value)
    console.print(grid)
    spent = sorted(((took, name) for name, took in told.seconds.items() if name != "all"), reverse=True)
    console.print(
        "[dim]of it " + ", ".join(f"{name} {took:.0f} s" for took, name in spent if took >= 1) + "[/dim]"
    )
    console.print(
        "\n[bold]Why did it say so?[/bold] Three of the answers, walked back to where they come from:"
    )
    for answer in told.why:
        console.print(why_tree(answer))
