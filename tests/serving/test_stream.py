"""Answers that come piece by piece: what a client hears, what the log has, and what ends in the middle."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import serve_world as world

from modelworks.core.clock import system_clock
from modelworks.core.errors import NotReady, Unavailable, Unfit
from modelworks.deploy import rollouts
from modelworks.deploy.deployment import Promotion
from modelworks.deploy.holdout import Holdout
from modelworks.deploy.inputs import Inputs
from modelworks.deploy.station import DeployStation
from modelworks.deploy.strategies.canary import Canary
from modelworks.deploy.strategies.port import Step
from modelworks.models.signature_of import signature
from modelworks.sdk.client import Client, events
from modelworks.serving.log_search import Wanted, recent
from modelworks.serving.pieces import joined
from modelworks.serving.station import ServeStation
from modelworks.stores import Stores, open_stores

X = pd.DataFrame({"text": ["one two three"] * 30, "gate": [""] * 30})


def words(row: dict[str, Any]) -> Iterator[Any]:
    """The words of a text; some of them do something."""
    import os
    import time

    for word in row["text"].split():
        if word == "KILL":
            os.kill(os.getpid(), 9)
        if word == "FAIL":
            raise ValueError("no further")
        if word == "WAIT":  # for the file that the row names
            while not os.path.exists(row["gate"]):
                time.sleep(0.005)
        yield word + " "


def numbers(row: dict[str, Any]) -> Iterator[Any]:
    """Plain data."""
    yield from ({"n": n} for n in range(len(row["text"].split())))


def endless(row: dict[str, Any]) -> Iterator[Any]:
    """Kilobytes without end; how many stands in the file that the row names, and that it was ended."""
    count = 0
    if not row["gate"]:  # when it is packed
        return
    try:
        while True:
            count += 1
            with open(row["gate"], "w") as file:
                file.write(str(count))
            yield "x" * 1024
    finally:
        with open(row["gate"] + ".ended", "w") as file:
            file.write("ended")


def slow(row: dict[str, Any]) -> Iterator[str]:
    """So few words without end that no answer becomes too long while a server ends; none of another text."""
    while row["text"] == "on and on":
        time.sleep(0.02)
        yield "x"


class Story:
    """Something that can be called and yields."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __call__(self, row: dict[str, Any]) -> Iterator[str]:
        for word in row["text"].split():
            yield word + self.mark


def put(stores: Stores, name: str, model: Any) -> None:
    world.declare(stores, name, list(X.columns))
    world.deploy(stores, name, (), (model, X, None))


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    stores = world.make_world(tmp_path_factory.mktemp("streams"))
    for name, model in (("words", words), ("numbers", numbers), ("story", Story("!"))):
        put(stores, name, model)
    return stores


@pytest.fixture(scope="module")
def port(stores: Stores) -> Iterator[int]:
    with world.server_process(stores.spool.parent, native="processes", quiet=0.05) as (process, port):
        yield port
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def asked(text: str, gate: Path | str = "") -> dict[str, str]:
    return {"text": text, "gate": str(gate)}


def logged(stores: Stores, id: str) -> dict[str, Any]:
    found = ServeStation(stores).find(id)
    assert found is not None
    return found


def until(true: Callable[[], Any]) -> Any:
    """Wait for what will be true soon."""
    end = time.monotonic() + 20
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def test_pieces_come_with_their_row_and_the_whole_at_the_end_in_the_log(stores: Stores, port: int) -> None:
    body = {"rows": [asked("a b"), asked("c")]}
    with world.client(port) as client:
        answer = client.post("/predict/words/stream", json=body, headers={"x-request-id": "mine"})
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["x-request-id"] == "mine"
        *pieces, (kind, done) = events(answer.text.splitlines())
        assert pieces == [
            ("message", {"row": 0, "piece": "a "}),
            ("message", {"row": 0, "piece": "b "}),
            ("message", {"row": 1, "piece": "c "}),
        ]
        assert (kind, done["model"]) == ("done", "words")
        assert [(one["version"], one["segment"], one["output"]) for one in done["predictions"]] == [
            (1, "", "a b "),
            (1, "", "c "),
        ]
        found = logged(stores, done["predictions"][1]["id"])
        assert (found["request"], json.loads(found["outputs"]), found["flags"]) == ("mine", "c ", None)
        # The same by what is accepted, plainly, and with a model that does not stream.
        accepting = client.post("/predict/words", json=body, headers={"accept": "text/event-stream"})
        assert accepting.text.count("data: ") == 4
        infer = {
            "inputs": [
                {"name": name, "shape": [1], "datatype": "BYTES", "data": [value]}
                for name, value in asked("a b").items()
            ]
        }
        assert client.post("/v2/models/words/infer", json=infer).json()["outputs"][0]["data"] == ['"a b "']
        plain = client.post("/predict/words", json=body)
        assert [one["output"] for one in plain.json()["predictions"]] == ["a b ", "c "]
        rows = [world.ROW, {**world.ROW, "carrier": "ZZ"}]
        other = client.post("/predict/delay/stream", json={"rows": rows})
        *pieces, (kind, done) = events(other.text.splitlines())
        outputs = [one["output"] for one in done["predictions"]]
        assert [(one["row"], one["piece"]) for _, one in pieces] == list(enumerate(outputs))
        assert [one["segment"] for one in done["predictions"]] == ["UA,EWR", ""]


def test_what_is_no_text_comes_as_a_list_and_nothing_as_an_empty_text(port: int) -> None:
    with Client(f"http://127.0.0.1:{port}") as client:
        *pieces, done = client.stream("numbers", [asked("a b")])
        assert [one["piece"] for one in pieces] == [{"n": 0}, {"n": 1}]
        assert done["predictions"][0]["output"] == [{"n": 0}, {"n": 1}]
        assert client.predict("numbers", [asked("a b")])["predictions"][0]["output"] == [{"n": 0}, {"n": 1}]
        (done,) = client.stream("words", [asked("")])
        assert done["predictions"][0]["output"] == ""
        *pieces, done = client.stream("story", [asked('é 😀 "q"')])
        assert [one["piece"] for one in pieces] == ["é!", "😀!", '"q"!']
        assert done["predictions"][0]["output"] == 'é!😀!"q"!'


def test_a_piece_comes_before_the_next_is_there_and_silence_is_filled(port: int, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    body = {"rows": [asked("first WAIT last", gate)]}
    with world.client(port) as client, client.stream("POST", "/predict/words/stream", json=body) as answer:
        lines = answer.iter_lines()
        assert next(lines) == 'data: {"row":0,"piece":"first "}'
        assert next(line for line in lines if line.startswith(":")) == ": still here"
        gate.touch()
        assert [kind for kind, _ in events(lines)] == ["message", "message", "done"]


def test_a_request_that_cannot_be_answered_has_a_status(port: int) -> None:
    with world.client(port) as client:
        for path, body, status in (
            ("/predict/words/stream", {"rows": [{"text": 3, "gate": ""}]}, 422),
            ("/predict/nothing/stream", {"rows": [asked("a")]}, 404),
            ("/predict/planned/stream", {"rows": [asked("a")]}, 503),
            ("/predict/words/stream", {"rows": [asked("FAIL")]}, 503),
            ("/predict/words/stream", {"rows": []}, 400),
        ):
            answer = client.post(path, json=body)
            assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), path
            assert set(answer.json()["error"]) >= {"code", "what", "why", "fix"}
        assert client.get("/predict/words/stream").status_code == 405


def test_an_error_in_the_middle_is_an_event_and_what_was_given_is_logged_as_cut(
    stores: Stores, port: int
) -> None:
    body = {"rows": [asked("whole"), asked("some FAIL"), asked("never")]}
    with world.client(port) as client:
        told = client.post("/predict/words/stream", json=body, headers={"x-request-id": "cut-1"})
    *pieces, (kind, error) = events(told.text.splitlines())
    assert (told.status_code, kind, error["error"]["code"]) == (200, "error", "unavailable")
    assert "no further" in error["error"]["why"]
    assert [one["piece"] for _, one in pieces] == ["whole ", "some "]
    rows = recent(stores, Wanted(request="cut-1"))[::-1]
    cut = [{"column": "output", "kind": "cut"}]
    assert [(json.loads(row["outputs"]), json.loads(row["flags"] or "[]")) for row in rows] == [
        ("whole ", []),
        ("some ", cut),
        (None, cut),
    ]


def test_a_worker_that_dies_in_the_middle_is_told_and_the_next_answers(stores: Stores, port: int) -> None:
    with Client(f"http://127.0.0.1:{port}") as client:
        told = client.stream("words", [asked("before KILL after")])
        assert next(told)["piece"] == "before "
        with pytest.raises(NotReady, match="worker process has ended"):
            next(told)
        *pieces, _ = client.stream("words", [asked("again")])
        assert [one["piece"] for one in pieces] == ["again "]


def test_a_client_that_leaves_ends_the_work_and_one_that_does_not_read_stops_it(tmp_path: Path) -> None:
    stores = open_stores(tmp_path / "state")
    put(stores, "endless", endless)
    count = tmp_path / "count"
    with world.server_process(tmp_path / "state", native="processes") as (_, port):
        body = json.dumps({"rows": [asked("a", count)]}).encode()
        head = b"POST /predict/endless/stream HTTP/1.1\r\nHost: x\r\nX-Request-Id: left\r\nContent-Length: %d\r\n\r\n"
        with world.Wire(port, buffer=4096) as wire:
            wire.send(head % len(body) + body)
            assert wire.head()[0] == 200
            made = until(lambda: settled(count))
            assert made < 3000  # kilobytes: what fits into the buffers between here and there
        until(Path(f"{count}.ended").exists)
        (row,) = until(lambda: recent(stores, Wanted(request="left")))
        assert json.loads(row["flags"]) == [{"column": "output", "kind": "cut"}]
        assert 0 < len(json.loads(row["outputs"])) <= made * 1024 + 4096


def test_a_server_that_ends_says_so_in_what_it_cannot_finish(tmp_path: Path) -> None:
    stores = open_stores(tmp_path / "state")
    put(stores, "slow", slow)
    body = {"rows": [asked("on and on")]}
    with (
        world.server_process(tmp_path / "state", native="processes", drain=0.0) as (process, port),
        world.client(port) as client,
        client.stream("POST", "/predict/slow/stream", json=body) as answer,
    ):
        lines = answer.iter_lines()
        next(lines)
        process.send_signal(signal.SIGTERM)
        *_, (kind, said) = events(lines)
        assert (kind, said["error"]["why"]) == ("error", "the server ends")
        assert process.wait(30) == 0


def settled(count: Path) -> int:
    """How many pieces were made, once it does not grow any more."""
    before = int(count.read_text() or 0) if count.exists() else 0
    time.sleep(0.3)
    after = int(count.read_text() or 0) if count.exists() else 0
    return after if after and after == before else 0


def test_streams_beyond_the_limit_are_told_to_come_again(stores: Stores, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waits = {"rows": [asked("first WAIT", gate)]}
    with (
        world.server_process(stores.spool.parent, native="processes", streams=1) as (process, port),
        world.client(port) as client,
        client.stream("POST", "/predict/words/stream", json=waits) as answer,
    ):
        lines = answer.iter_lines()
        next(lines)
        with world.client(port) as other:
            refused = other.post("/predict/words/stream", json=waits)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            # Another model of the same worker is answered meanwhile, and the same one, too.
            assert other.post("/predict/numbers", json={"rows": [asked("a")]}).status_code == 200
        gate.touch()
        *_, (kind, done) = events(lines)
        process.kill()  # what was told is kept
    assert kind == "done"
    assert logged(stores, done["predictions"][0]["id"])["outputs"] == '"first WAIT "'


def test_in_this_process_it_is_the_same(stores: Stores, tmp_path: Path) -> None:
    own = Stores(stores.ledger, stores.tables, stores.artifacts, tmp_path / "spool")
    station = ServeStation(own)
    *pieces, done = station.stream("words", [asked("a b")])
    assert pieces == [{"row": 0, "piece": "a "}, {"row": 0, "piece": "b "}]
    assert (station.find(done["predictions"][0]["id"]) or {})["outputs"] == '"a b "'
    told = station.stream("words", [asked("a b")])
    next(told)
    told.close()
    assert [row["flags"] is not None for row in station.recent("words")] == [True, False]
    with pytest.raises(Unavailable, match="failed on this input"):
        list(station.stream("words", [asked("FAIL")]))
    station.close()


def test_what_yields_is_told_by_itself() -> None:
    for model in (words, Story(""), partial(words), Story("").__call__):
        takes = signature(X, None, list(X.columns), model)
        assert (takes.task, takes.streams) == ("other", True)
        assert type(takes).from_json(takes.to_json()) == takes
    assert not signature(X, None, list(X.columns), lambda frame: [[text] for text in frame["text"]]).streams


def test_texts_join_as_json() -> None:
    parts = ['a"', "\\", "é\n", "😀"]
    assert json.loads(joined([json.dumps(part, ensure_ascii=False).encode() for part in parts])) == "".join(
        parts
    )
    assert json.loads(joined([b"1", b'"a"'])) == [1, "a"]
    assert json.loads(joined([])) == ""


# -- rollouts, holdouts, the guard -----------------------------------------------------------------------


def loud(row: dict[str, Any]) -> Iterator[str]:
    """A challenger: louder words, or none where it is told to fail."""
    for word in row["text"].split():
        if word == "FAIL":
            raise ValueError("no further")
        yield word.upper() + " "


@pytest.fixture
def divided(tmp_path: Path) -> Iterator[tuple[ServeStation, str]]:
    """A station with a rollout in which all rows are the challenger's; and the rollout's id."""
    stores = open_stores(tmp_path)
    station = ServeStation(stores)
    put(stores, "said", words)
    version = world.register(stores, "said", (), (loud, X, None))
    deploy = DeployStation(stores.ledger, system_clock)
    with stores.ledger.write() as db:
        deploy.bring_out(db, [Promotion("said", (), version, "a test", Canary(steps=[50, 100]).to_json())])
    with stores.ledger.write() as db:
        (one,) = rollouts.running(db)
        assert rollouts.go_on(db, one, Step("go_on", "a test", 1.0), 0, {}, one.begun)
    yield station, one.id
    station.close()


def test_a_challenger_streams_and_the_champion_stands_in_while_nothing_was_given(
    divided: tuple[ServeStation, str],
) -> None:
    station, rollout = divided
    *pieces, _ = station.stream("said", [asked("a b")])
    assert [one["piece"] for one in pieces] == ["A ", "B "]
    # Nothing was given yet: the champion is asked instead, which fails as well, or does not.
    with pytest.raises(Unavailable, match="said@1 failed"):
        list(station.stream("said", [asked("FAIL")]))
    told = station.stream("said", [asked("a FAIL")])
    assert next(told)["piece"] == "A "
    with pytest.raises(Unavailable, match="said@2 failed"):
        next(told)
    cut, whole = station.recent("said")
    assert [whole[name] for name in ("arm", "rollout", "failure", "version")] == [
        "challenger",
        rollout,
        None,
        2,
    ]
    assert [cut[name] for name in ("arm", "rollout", "outputs")] == ["challenger", rollout, '"A "']
    assert cut["failure"].startswith("failed: said@2 failed on this input")
    assert json.loads(cut["flags"]) == [{"column": "output", "kind": "cut"}]


def fragile(row: dict[str, Any]) -> Iterator[str]:
    """A challenger that gives nothing."""
    if row["text"] != "one two three":  # when it is packed
        raise ValueError("nothing")
    yield "nothing"


def test_a_challenger_that_gives_nothing_is_not_noticed(divided: tuple[ServeStation, str]) -> None:
    station, _ = divided
    stores = station.stores
    put(stores, "quiet", words)
    version = world.register(stores, "quiet", (), (fragile, X, None))
    deploy = DeployStation(stores.ledger, system_clock)
    with stores.ledger.write() as db:
        deploy.bring_out(db, [Promotion("quiet", (), version, "a test", Canary(steps=[50, 100]).to_json())])
    with stores.ledger.write() as db:
        (one,) = rollouts.running(db, "quiet")
        assert rollouts.go_on(db, one, Step("go_on", "a test", 1.0), 0, {}, one.begun)
    *pieces, done = station.stream("quiet", [asked("a b")])
    assert [one["piece"] for one in pieces] == ["a ", "b "]
    assert done["predictions"][0]["version"] == 1
    (row,) = station.recent("quiet")
    assert (row["arm"], row["failure"][:8]) == ("champion", "failed: ")


def test_a_holdout_is_told_nothing_and_the_guard_refuses(tmp_path: Path) -> None:
    stores = open_stores(tmp_path)
    world.declare(
        stores,
        "held",
        list(X.columns),
        definition={"control": Holdout(99.99).to_json(), "inputs": Inputs(unknown="reject").to_json()},
    )
    world.deploy(stores, "held", (), (words, X, None), guarded=True)
    station = ServeStation(stores)
    (piece, done) = station.stream("held", [asked("one two three")])
    assert (piece, done["predictions"][0]["output"]) == ({"row": 0, "piece": None}, None)
    world.declare(
        stores, "guarded", list(X.columns), definition={"inputs": Inputs(unknown="reject").to_json()}
    )
    world.deploy(stores, "guarded", (), (words, X, None), guarded=True)
    with pytest.raises(Unfit, match="never saw this text"):
        list(station.stream("guarded", [asked("one two three"), asked("unheard of")]))
    *pieces, _ = station.stream("guarded", [asked("one two three")])
    assert len(pieces) == 3
    station.close()
