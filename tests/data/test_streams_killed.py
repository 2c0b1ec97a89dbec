"""A consumer that is killed, a broker that is restarted, messages that are corrupt: the right rows all the same."""

import multiprocessing
import random
import time
from pathlib import Path

import orjson
import pytest
from data_processes import follow
from data_world import frame, open_station, stream_of_trips
from sqlalchemy import select

from modelworks.demos.broker import Broker, Publisher
from modelworks.stores import Stores
from modelworks.stores.ledger.tables import ingests

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["modelworks.stores", "modelworks.data.station", "modelworks.data.streams.nats"]
)

KILLS = 50
RESTARTS = 5
A_TIME = 300


def begun(stores: Stores) -> bool:
    """Whether an ingest is at work, or was cut off."""
    with stores.ledger.read() as db:
        return db.scalar(select(ingests.c.dataset)) is not None


@pytest.mark.fault
def test_killed_fifty_times(tmp_path: Path) -> None:
    chance = random.Random(7)
    made = [orjson.dumps(row) for row in frame(0, KILLS * A_TIME).to_dicts()]
    corrupt = sorted(chance.sample(range(len(made)), len(made) // 100))
    for number in corrupt:
        cut = chance.randrange(len(made[number]))
        made[number] = chance.choice([made[number][:cut], b"\x80" + made[number], b"[" + made[number] + b"]"])
    station, stores = open_station(tmp_path)
    cut_off = 0
    with Broker(tmp_path / "broker") as broker:
        for turn in range(KILLS):
            consumer = PROCESSES.Process(target=follow, args=(tmp_path, broker.url))
            consumer.start()
            if turn % (KILLS // RESTARTS) == 5:
                broker.kill()
                broker.restart()
            with Publisher(broker.url, "TRIPS") as publisher:
                publisher.send(made[turn * A_TIME : (turn + 1) * A_TIME])
            if turn % 2:  # as soon as rows are on their way into the tables
                late = time.monotonic() + 10
                while not begun(stores) and time.monotonic() < late:
                    time.sleep(0.002)
            else:
                time.sleep(chance.uniform(0, 0.4))
            consumer.kill()
            consumer.join()
            cut_off += begun(stores)
        station.ingest(stream_of_trips(broker.url))
    rows = station.read("trips").collect()["id"].to_list()
    good = [f"t{number}" for number in range(len(made)) if number not in set(corrupt)]
    assert sorted(rows) == sorted(good)
    kept = station.quarantined("trips", 10 * len(corrupt))
    assert sorted(row["number"] - 1 for row in kept) == corrupt
    versions = station.versions("trips", 10_000)
    assert versions[0].rows == len(good)
    assert len(versions) > KILLS  # it was at work when it was killed
    assert cut_off > KILLS // 10  # and often in the middle of it
    stores.ledger.close()
