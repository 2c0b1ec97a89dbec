"""The lineage graph: edges added once, walked up and down within bounds."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, func, select

from modelworks.lineage import graph
from modelworks.lineage.edge import Edge
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.tables import edges, metadata

NOW = datetime(2024, 5, 1, tzinfo=UTC)
BELT = [
    Edge("file:a.csv#1", "ingested", "dataset:flights@1"),
    Edge("file:b.csv#2", "ingested", "dataset:flights@1"),
    Edge("dataset:flights@1", "trained", "run:r1"),
    Edge("code:c", "trained", "run:r1"),
    Edge("run:r1", "made", "model:delay[UA,EWR]@1"),
    Edge("model:delay[UA,EWR]@1", "deployed", "deployment:delay[UA,EWR]#1"),
    Edge("dataset:flights@1", "trained", "run:r2"),
    Edge("run:r2", "made", "model:delay[UA,EWR]@2"),
]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Connection]:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    with ledger.write() as db:
        yield db
    ledger.close()


def test_up_to_the_origins(db: Connection) -> None:
    graph.add(db, BELT, NOW)
    assert set(graph.up(db, "deployment:delay[UA,EWR]#1")) == set(BELT[:6])
    assert graph.up(db, "deployment:delay[UA,EWR]#1", depth=1) == [BELT[5]]
    assert graph.up(db, "deployment:delay[UA,EWR]#1")[:2] == [BELT[5], BELT[4]]  # the nearest first
    assert graph.up(db, "file:a.csv#1") == []
    assert graph.up(db, "nothing") == []


def test_down_to_what_came_of_it(db: Connection) -> None:
    graph.add(db, BELT, NOW)
    assert set(graph.down(db, "file:b.csv#2")) == {BELT[1], *BELT[2:3], *BELT[4:]}
    assert graph.down(db, "deployment:delay[UA,EWR]#1") == []


def test_edges_are_there_once(db: Connection) -> None:
    graph.add(db, [], NOW)
    graph.add(db, [*BELT, *BELT], NOW)
    graph.add(db, BELT, datetime(2025, 1, 1, tzinfo=UTC))
    assert db.scalar(select(func.count()).select_from(edges)) == len(BELT)
    assert set(db.scalars(select(edges.c.created))) == {NOW}


def test_a_wide_graph_is_bounded(db: Connection) -> None:
    graph.add(db, [Edge("dataset:d@1", "trained", f"run:{n:05d}") for n in range(3000)], NOW)
    graph.add(db, [Edge(f"run:{n:05d}", "made", f"model:m@{n}") for n in range(3000)], NOW)
    assert len(graph.down(db, "dataset:d@1")) == 6000
    assert len(graph.down(db, "dataset:d@1", limit=100)) == 100
    assert len(graph.down(db, "dataset:d@1", limit=3100)) == 3100
    assert len(graph.up(db, "model:m@7")) == 2


def test_long_names_are_found_again(db: Connection) -> None:
    node = "file:" + "x" * 2000
    graph.add(db, [Edge(node, "ingested", "dataset:d@1")], NOW)
    (edge,) = graph.up(db, "dataset:d@1")
    assert graph.down(db, node) == [edge]


def _reached(pairs: list[tuple[int, int]], start: int, depth: int) -> set[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    front = {start}
    for _ in range(depth):
        step = {pair for pair in pairs if pair[0] in front}
        found |= step
        front = {target for _, target in step}
    return found


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=30), st.integers(0, 6))
@settings(max_examples=60, deadline=None)
def test_walks_any_graph_with_circles_too(pairs: list[tuple[int, int]], depth: int) -> None:
    engine = create_engine("sqlite://")
    metadata.create_all(engine, tables=[edges])
    with engine.begin() as db:
        graph.add(db, [Edge(str(a), "made", str(b)) for a, b in pairs], NOW)
        down = {(int(edge.source), int(edge.target)) for edge in graph.down(db, "0", depth)}
        up = {(int(edge.target), int(edge.source)) for edge in graph.up(db, "0", depth)}
    engine.dispose()
    assert down == _reached(pairs, 0, depth)
    assert up == _reached([(b, a) for a, b in pairs], 0, depth)
