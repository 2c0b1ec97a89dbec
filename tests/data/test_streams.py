"""Streams: real brokers, every message once, whatever it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer
from data_world import TRIPS, frame, open_station

from modelworks.core.errors import Conflict, Invalid, ModelworksError, Unavailable
from modelworks.core.schema import as_field
from modelworks.data.dataset import Dataset
from modelworks.data.station import DataStation
from modelworks.data.streams import STREAMS
from modelworks.data.streams.kafka import Kafka
from modelworks.data.streams.nats import Nats
from modelworks.data.streams.port import START, Stream, Taken
from modelworks.data.version import IngestReport
from modelworks.demos.broker import Broker, Publisher

EXPECTED = {name: as_field(name, spec) for name, spec in TRIPS.items()}


@dataclass
class World:
    """A stream, and how to send to it."""

    stream: Stream
    send: Callable[[Iterable[bytes]], None]


def nats_world(root: Path) -> Iterator[World]:
    with Broker(root / "broker") as broker, Publisher(broker.url, "TRIPS") as publisher:
        yield World(Nats("TRIPS", broker.url, seconds=0.2), publisher.send)


def kafka_world(_root: Path) -> Iterator[World]:
    producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "", "log_level": 0})
    (broker,) = producer.list_topics(timeout=10).brokers.values()

    def send(payloads: Iterable[bytes]) -> None:
        for number, payload in enumerate(payloads):
            producer.produce("trips", payload, partition=number % 2)
        assert producer.flush(10) == 0

    producer.list_topics("trips", timeout=10)  # makes it
    yield World(Kafka("trips", f"{broker.host}:{broker.port}", seconds=0.2), send)


WORLDS = {"nats": nats_world, "kafka": kafka_world}


@pytest.fixture(params=list(STREAMS))
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    yield from WORLDS[request.param](tmp_path)


@pytest.fixture
def station(tmp_path: Path) -> Iterator[DataStation]:
    station, stores = open_station(tmp_path)
    yield station
    stores.ledger.close()


def messages(first: int, count: int, **more: Any) -> list[bytes]:
    rows = frame(first, count).to_dicts()
    return [orjson.dumps(row | more) for row in rows]


def trips(stream: Stream) -> Dataset:
    return Dataset("trips", source=stream, contract=TRIPS, key="id", time="start")


def ids(station: DataStation) -> list[str]:
    return sorted(station.read("trips").collect()["id"], key=lambda name: int(name[1:]))


def names(first: int, count: int) -> list[str]:
    return [f"t{number}" for number in range(first, first + count)]


def all_of(reader: Any, count: int) -> list[Taken]:
    taken = []
    while count > 0:
        taken.append(reader.take(count, 10))
        count -= sum(len(piece.numbers) + len(piece.broken) for piece in taken[-1].slices)
    return taken


def test_every_stream_keeps_the_ports_promises(world: World) -> None:
    world.send(messages(0, 10))
    reader = world.stream.open(lambda _: {}, EXPECTED)
    assert reader.behind == 10
    taken = all_of(reader, 10)
    assert reader.behind == 0
    assert reader.take(1, 0.05) is None
    last: dict[str, int] = {}
    found = []
    for one in taken:
        for piece in one.slices:
            assert piece.since == last.get(piece.partition, START)
            assert piece.numbers.is_sorted()
            last[piece.partition] = piece.upto
            found += piece.rows["id"].to_list()
    assert sorted(found) == names(0, 10)
    world.send(messages(10, 4))
    assert len(all_of(reader, 4)) >= 1
    reader.close()
    # One who stands where the first was reads the same again; one at the end, nothing.
    again = world.stream.open(lambda asked: {name: last[name] for name in asked if name in last}, EXPECTED)
    taken = all_of(again, 4)
    assert sorted(name for one in taken for piece in one.slices for name in piece.rows["id"]) == names(10, 4)
    assert again.behind == 0
    again.close()


def test_what_waits_becomes_a_version(world: World, station: DataStation) -> None:
    dataset = trips(world.stream)
    world.send(messages(0, 100))
    report = station.ingest(dataset)
    assert (report.rows_read, report.rows_added, report.rows_quarantined) == (100, 100, 0)
    assert report.version is not None
    assert station.ingest(dataset).version is None
    world.send(messages(100, 50))
    assert station.ingest(dataset).rows_added == 50
    assert ids(station) == names(0, 150)


def test_a_message_that_is_no_row_goes_to_quarantine(world: World, station: DataStation) -> None:
    bad = [b"", b"no json", b"\xff\xfe", b"[1]", b"5", b'{"id": "x",', b'{"id":"y"}\n{"id":"z"}', b"{}"]
    wrong = [
        orjson.dumps({"id": "t7", "start": "2024-05-01", "distance": -1.0, "colour": "red"}),
        orjson.dumps({"id": "t8", "start": "never", "distance": 2, "colour": "red"}),
        orjson.dumps({"id": "t9", "start": "2024-05-01", "distance": "far", "colour": "red"}),
        orjson.dumps({"id": "t10"}),
    ]
    world.send([*messages(0, 3), *bad, *wrong, *messages(3, 3)])
    report = station.ingest(trips(world.stream))
    assert (report.rows_read, report.rows_added, report.rows_quarantined) == (18, 6, 12)
    assert ids(station) == names(0, 6)
    kept = station.quarantined("trips")
    assert len(kept) == 12
    texts = [orjson.loads(row["row"]) for row in kept]
    assert {"message": "no json"} in texts
    assert {"message_base64": "//4="} in texts
    assert {row["reason"] for row in kept} == {
        "the message is empty", "the message is not JSON", "the message is no JSON object with a row",
        "distance is not at least 0", "start is not a time", "distance is not a number", "start is missing",
    }  # fmt: skip
    places = {(row["source"], row["number"]) for row in kept}
    assert len(places) == 12
    assert all(source.startswith((("nats:TRIPS/"), ("kafka:trips/"))) for source, _ in places)


def test_only_bad_messages_are_taken_in_once(world: World, station: DataStation) -> None:
    world.send([b"no", b"never"])
    assert station.ingest(trips(world.stream)).rows_quarantined == 2
    assert station.ingest(trips(world.stream)).version is None
    world.send(messages(0, 2))
    assert station.ingest(trips(world.stream)).rows_added == 2
    assert len(station.quarantined("trips")) == 2


def test_a_new_column_is_offered_and_not_taken(world: World, station: DataStation) -> None:
    world.send(messages(0, 5, weather="rain"))
    report = station.ingest(trips(world.stream))
    assert report.offered == {"weather": "mw.Text(nullable=True)"}
    assert "weather" not in station.read("trips").collect_schema()


def test_follow_goes_on_until_told(world: World, station: DataStation) -> None:
    stop, seen, said = Event(), Event(), []

    def hear(told: IngestReport | ModelworksError) -> None:
        said.append(told)
        if sum(one.rows_added for one in said if isinstance(one, IngestReport)) == 60:
            seen.set()

    thread = Thread(target=station.follow, args=(trips(world.stream), stop, hear))
    thread.start()
    for first in range(0, 60, 20):
        world.send(messages(first, 20))
    assert seen.wait(30), said
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert ids(station) == names(0, 60)


def test_two_who_read_at_once_double_nothing(world: World, station: DataStation) -> None:
    dataset = trips(world.stream)
    world.send(messages(0, 10))
    reader = world.stream.open(lambda _: {}, EXPECTED)
    taken = all_of(reader, 10)
    station.ingest(dataset)
    with pytest.raises(Conflict, match="not what comes next"):
        station.take(dataset, taken[0])
    reader.close()
    assert ids(station) == names(0, 10)


def test_files_cannot_be_followed(station: DataStation) -> None:
    from data_world import trips as of_files

    with pytest.raises(Invalid, match="no stream"):
        station.follow(of_files(), Event(), print)


# -- NATS ------------------------------------------------------------------------------------------------


def test_nats_out_of_reach() -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        Nats("TRIPS", "nats://127.0.0.1:1").open(lambda _: {}, EXPECTED)


def test_nats_without_that_stream(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker, pytest.raises(Invalid, match="stream not found"):
        Nats("TRIPS", broker.url).open(lambda _: {}, EXPECTED)


@pytest.mark.parametrize(("given", "why"), [("", "no name"), ("a.b", "no name"), ("a b", "no name")])
def test_nats_names(given: str, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        Nats(given)
    with pytest.raises(Invalid, match="rows and seconds"):
        Nats("TRIPS", rows=0)
    with pytest.raises(Invalid, match="rows and seconds"):
        Kafka("trips", seconds=0)
    with pytest.raises(Invalid, match="no topic"):
        Kafka(" ")
    assert "secret" not in repr(Nats("TRIPS", "nats://me:secret@broker"))


def test_a_broker_that_dies_and_comes_back(tmp_path: Path, station: DataStation) -> None:
    stop, there, lost, back, said = Event(), Event(), Event(), Event(), []

    def hear(told: IngestReport | ModelworksError) -> None:
        said.append(told)
        added = sum(one.rows_added for one in said if isinstance(one, IngestReport))
        if added == 10:
            there.set()
        if isinstance(told, Unavailable):
            lost.set()
        if added == 20:
            back.set()

    with Broker(tmp_path / "broker") as broker:
        with Publisher(broker.url, "TRIPS") as publisher:
            publisher.send(messages(0, 10))
        dataset = trips(Nats("TRIPS", broker.url, seconds=0.1))
        thread = Thread(target=station.follow, args=(dataset, stop, hear))
        thread.start()
        assert there.wait(20)
        broker.kill()
        assert lost.wait(20)
        broker.restart()
        with Publisher(broker.url, "TRIPS") as publisher:
            publisher.send(messages(10, 10))
        assert back.wait(20)
        stop.set()
        thread.join(20)
    assert ids(station) == names(0, 20)
