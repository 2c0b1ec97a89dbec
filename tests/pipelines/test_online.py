"""Models that learn from outcomes: each once, in the order of their coming, first answered, then learned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from modelworks.core.clock import Clock, FrozenClock, system_clock
from modelworks.core.errors import Conflict, Invalid, NotFound, NotReady
from modelworks.core.plain import plain
from modelworks.core.ref import Ref
from modelworks.factory import Factory
from modelworks.models.flavors import FLAVORS
from modelworks.pipelines import online
from modelworks.pipelines.load import load_project
from modelworks.stores.ledger.tables import leases
from modelworks.train import trainer

pytest.importorskip("river")

CODE = """
import modelworks as mw

rows = mw.Dataset("rows", source=mw.Files("data/*.csv"), key="id", time="at",
                  contract={"id": str, "at": mw.Time(), "shop": str, "x": mw.Number(), "y": mw.Number(integer=True)})

@mw.model(dataset=rows, target="y", features=["x"], metrics=["log_loss"], learn="online", checkpoint=40, SPLIT
          gate=[mw.BeatsChampion("log_loss")], min_rows=50)
def guess(X, y, params):
    from river.linear_model import LogisticRegression
    from river.optim import SGD
    model = LogisticRegression(SGD(0.3))
    for row, target in zip(X.to_dict("records"), y.tolist()):
        model.learn_one(row, target)
    return model
"""
SHOPS = ("a", "b")


@pytest.fixture(scope="module", autouse=True)
def _workers() -> Iterator[None]:
    yield
    trainer.close()


def project(folder: Path, split: str = "", checkpoint: str = "40") -> Path:
    """Two hundred rows in which y follows x."""
    (folder / "data").mkdir(parents=True)
    (folder / "modelworks.toml").write_text('[train]\nexecutor = "inline"\n')
    code = CODE.replace("SPLIT", split).replace("checkpoint=40", f"checkpoint={checkpoint}")
    (folder / "factory.py").write_text(code)
    random = np.random.default_rng(0)
    x = random.normal(size=200).round(3)
    y = (x + 0.3 * random.normal(size=200) > 0).astype(int)
    lines = [
        f"r{n},2026-01-{1 + n // 24:02d}T{n % 24:02d}:00:00Z,{SHOPS[n % 2]},{x[n]},{y[n]}" for n in range(200)
    ]
    (folder / "data" / "a.csv").write_text("\n".join(["id,at,shop,x,y", *lines]))
    return folder


def asked(
    factory: Factory, number: int, seed: int, by: str = "prediction_id", turned: bool = True
) -> list[tuple[dict[str, Any], int]]:
    """Ask about rows and tell their truths, in which y goes against x where it is `turned`; as they were told."""
    random = np.random.default_rng(seed)
    rows = [
        {"id": f"q{seed}-{n}", "at": "2026-02-01T00:00:00Z", "shop": SHOPS[n % 2],
         "x": float(np.float32(random.normal()))}
        for n in range(number)
    ]  # fmt: skip
    answers = factory.predict("guess", rows)["predictions"]
    truths = [int((row["x"] > 0) is not turned) for row in rows]
    for start in range(0, number, 10):  # told in several requests, at moments of their own
        some = range(start, min(start + 10, number))
        tell(
            factory,
            [(answers[n]["id"] if by == "prediction_id" else rows[n]["id"], truths[n]) for n in some],
            by,
        )
    return list(zip(rows, truths, strict=True))


def tell(factory: Factory, truths: Sequence[tuple[str, int]], by: str) -> None:
    factory.outcomes([{by: name, "value": value} for name, value in truths])


def native(factory: Factory, version: int, segment: tuple[str, ...] = ()) -> Any:
    package = factory.stations.registry.get(Ref("guess", segment, version)).package
    return FLAVORS[package.flavor].load(factory.stores.artifacts.get(package.native))


def begun(folder: Path, split: str = "", clock: Clock = system_clock, checkpoint: str = "40") -> Factory:
    factory = Factory(project(folder, split, checkpoint), clock=clock)
    factory.ingest()
    factory.train("guess")
    return factory


def learned(factory: Factory) -> dict[str, Any]:
    """What a turn of the loop learned from outcomes."""
    (report,) = plain(factory.apply())["learned"]
    return dict(report)


def losses(model: Any, told: Sequence[tuple[dict[str, Any], int]]) -> list[float]:
    """Test, then train, row by row, with River alone."""
    found = []
    for row, truth in told:
        given = model.predict_proba_one({"x": row["x"]})[truth]
        found.append(-np.log(max(given, np.finfo(np.float32).eps)))
        model.learn_one({"x": row["x"]}, truth)
    return found


@pytest.fixture
def everywhere(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a ledger of each kind."""
    monkeypatch.setenv("MODELWORKS_LEDGER_URL", ledger_url)


@pytest.mark.usefixtures("everywhere")
def test_it_answers_and_then_learns_each_outcome_once_in_order(tmp_path: Path) -> None:
    with begun(tmp_path) as factory:
        told = asked(factory, 30, 1)
        report = learned(factory)
        assert (report["rows"], report["versions"]) == (0, [])  # fewer than a checkpoint: they wait
        told += asked(factory, 30, 2, "key")
        report = learned(factory)
        assert (report["rows"], report["versions"], report["promoted"]) == (60, ["guess@2"], 1)

        river, frozen = native(factory, 1), native(factory, 1)
        expected = np.mean(losses(river, told))
        made = native(factory, 2)
        assert made.weights["x"] == river.weights["x"]
        assert made.intercept == river.intercept
        (point,) = factory.monitor("guess")["checkpoints"]
        assert point["loss"] == pytest.approx(expected, rel=1e-6)
        answers = [frozen.predict_proba_one({"x": row["x"]})[truth] for row, truth in told]
        assert point["champion_loss"] == pytest.approx(-np.mean(np.log(answers)), rel=1e-5)
        assert point["loss"] < point["champion_loss"]
        shown = factory.model("guess@2")
        assert shown["version"]["metrics"]["log_loss"] == pytest.approx(expected, rel=1e-6)
        assert factory.run(shown["version"]["run"])["tags"] == {"continues": "guess@1"}
        edges = {(edge["source"], edge["relation"]) for edge in plain(factory.lineage("guess@2")["edges"])}
        assert ("model:guess@1", "continued") in edges
        with pytest.raises(NotReady, match="learned from outcomes"):
            factory.reproduce("guess@2", here=True)

        # The same truths told again teach nothing; a new row is learned by the version that learned last.
        tell(factory, [(row["id"], truth) for row, truth in told], "key")
        assert learned(factory)["rows"] == 0
        more = asked(factory, 40, 3)
        assert learned(factory)["rows"] == 40
        losses(river, more)
        assert native(factory, 3).weights["x"] == river.weights["x"]


def test_what_a_gate_refuses_goes_on_all_the_same(tmp_path: Path) -> None:
    with begun(tmp_path) as factory:
        river = native(factory, 1)
        code = (tmp_path / "factory.py").read_text()
        (tmp_path / "factory.py").write_text(code.replace('"log_loss")]', '"log_loss", by=99.0)]'))
    with Factory(tmp_path) as factory:
        for version in (2, 3):
            told = asked(factory, 50, version)
            report = learned(factory)
            assert (report["rows"], report["refused"], report["promoted"]) == (50, 1, 0)
            losses(river, told)
            assert native(factory, version).weights["x"] == river.weights["x"]
        assert factory.deployments()[0]["version"] == 1
        # Trained anew by hand, and let through: outcomes go on from there.
        (tmp_path / "factory.py").write_text(code)
    with Factory(tmp_path) as factory:
        factory.train("guess", force=True)
        factory.deploy("guess@4", "by hand")
        asked(factory, 50, 9)
        assert learned(factory)["rows"] == 50
        assert factory.run(factory.model("guess@5")["version"]["run"])["tags"] == {"continues": "guess@4"}


@pytest.mark.usefixtures("everywhere")
def test_each_segment_learns_its_own_rows_and_the_parent_all(tmp_path: Path) -> None:
    with begun(tmp_path, 'per=["shop"],') as factory:
        asked(factory, 100, 1)
        report = learned(factory)
        assert sorted(report["versions"]) == ["guess@2", "guess[a]@2", "guess[b]@2"]
        rows = {one["segment"]: one["rows"] for one in factory.monitor("guess")["checkpoints"]}
        assert rows == {"": 100, "a": 50, "b": 50}


@pytest.mark.usefixtures("everywhere")
def test_who_is_forgotten_is_known_to_every_version_that_learned_the_outcome(tmp_path: Path) -> None:
    with begun(tmp_path, 'per=["shop"],') as factory:
        told = asked(factory, 80, 1)
        learned(factory)
        asked(factory, 80, 2, "key")
        learned(factory)
        factory.predict("guess", [{"id": "untold", "at": "2026-02-01T00:00:00Z", "shop": "a", "x": 1.0}])
        assert factory.forget("rows", "untold").models == []
        # What was learned first is in what goes on from it, too; of the other shop nobody knows the row.
        first = factory.forget("rows", "q1-4")
        assert (first.rows, first.predictions) == (0, 2)
        assert sorted(first.models) == ["guess@2", "guess@3", "guess[a]@2", "guess[a]@3"]
        assert sorted(factory.forget("rows", "q2-5").models) == ["guess@3", "guess[b]@3"]
        by_value = factory.forget("rows", str(told[7][0]["x"]), "x")
        assert sorted(by_value.models) == ["guess@2", "guess@3", "guess[b]@2", "guess[b]@3"]

        # Made anew it has learned from nobody who was told before.
        factory.train("guess", force=True, scratch=True)
        factory.deploy("guess@4", "by hand")
        asked(factory, 80, 3)
        learned(factory)
        assert "guess@4" not in factory.forget("rows", "q2-6").models
        assert sorted(factory.forget("rows", "q3-1").models)[0] == "guess@5"
        assert factory.run(factory.model("guess@5")["version"]["run"])["tags"] == {"continues": "guess@4"}


def test_who_is_forgotten_was_learned_under_the_name_of_the_answer(tmp_path: Path) -> None:
    with begun(tmp_path) as factory:
        rows = [{"at": "2026-02-01T00:00:00Z", "shop": "a", "x": n + 0.5} for n in range(50)]
        answers = factory.predict("guess", rows)["predictions"]
        tell(factory, [(one["id"], n % 2) for n, one in enumerate(answers)], "prediction_id")
        assert learned(factory)["rows"] == 50
        assert factory.forget("rows", "17.5", "x").models == ["guess@2"]
        assert factory.forget("rows", "17.5", "x").models == []  # an id alone says of nobody


def test_a_detector_that_sees_the_rows_turn_is_a_reason_to_train(tmp_path: Path) -> None:
    project(tmp_path)
    code = (tmp_path / "factory.py").read_text()
    code = code.replace('learn="online", checkpoint=40,', 'retrain=[mw.OnDetector("adwin")], cooldown="1s",')
    (tmp_path / "factory.py").write_text(code)
    with Factory(tmp_path, clock=FrozenClock(datetime(2026, 2, 2, tzinfo=UTC))) as factory:
        factory.ingest()
        factory.train("guess")
        text = (tmp_path / "data" / "a.csv").read_text()
        (tmp_path / "data" / "b.csv").write_text(text.replace("\nr", "\ns"))
        factory.ingest()
        asked(factory, 300, 1, turned=False)
        factory.observe()
        assert plain(factory.plan("guess")) == []
        asked(factory, 300, 2)
        factory.observe()
        (decision,) = plain(factory.plan("guess"))
        evidence = decision["evidence"]["on_detector"]
        assert evidence["outcomes"] == 600
        assert 300 <= evidence["places"][-1] < 500


@pytest.mark.usefixtures("everywhere")
def test_a_checkpoint_by_time_comes_when_the_oldest_outcome_is_that_old(tmp_path: Path) -> None:
    clock = FrozenClock(system_clock())  # answers and outcomes have the machine's time
    with begun(tmp_path, clock=clock, checkpoint='"6h"') as factory:
        river = native(factory, 1)
        told = asked(factory, 20, 1)
        first = system_clock()
        told += asked(factory, 20, 2)
        clock.at = first + timedelta(hours=5, minutes=59)
        assert learned(factory)["rows"] == 0  # enough, but none is that old
        clock.at = first + timedelta(hours=6)
        report = learned(factory)
        assert (report["rows"], report["versions"]) == (40, ["guess@2"])
        assert learned(factory)["rows"] == 0

        # Too few for a loss that says something wait, however old they are.
        more = asked(factory, 20, 3)
        clock.advance(timedelta(hours=30))
        assert learned(factory)["rows"] == 0
        more += asked(factory, 20, 4, "key")
        report = learned(factory)
        assert (report["rows"], report["versions"]) == (40, ["guess@3"])
        losses(river, told)
        assert native(factory, 2).weights["x"] == river.weights["x"]
        losses(river, more)
        assert native(factory, 3).weights["x"] == river.weights["x"]
        assert learned(factory)["rows"] == 0


KILLED = """
import os, sys
from datetime import datetime
from modelworks.factory import Factory
from modelworks.pipelines import release

folder, now, at, number = sys.argv[1:]
met = 0

def die(*args, **kwargs):
    global met
    met += 1
    last = met == int(number)
    if last and at == "learned":
        os.kill(os.getpid(), 9)   # all of it is learned, nothing is written
    result = record(*args, **kwargs)
    if last and at == "written":
        os.kill(os.getpid(), 9)   # the version is written, the transaction is not over
    return result

record, release.record = release.record, die
with Factory(folder, clock=lambda: datetime.fromisoformat(now)) as factory:
    factory.apply()
"""


@pytest.mark.fault
@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("at", ["learned", "written"])
@pytest.mark.parametrize("checkpoint", ["40", '"6h"'])
def test_killed_before_a_checkpoint_stands_the_same_is_learned_again(
    tmp_path: Path, checkpoint: str, at: str
) -> None:
    """Two checkpoints of two shops and their parent stand, the third is lost: each learns each of its rows once."""
    clock = FrozenClock(system_clock())
    with begun(tmp_path, 'per=["shop"],', clock, checkpoint) as factory:
        told = asked(factory, 100, 1)
    clock.advance(timedelta(hours=7))
    command = [sys.executable, "-c", KILLED, str(tmp_path), clock().isoformat(), at, "3"]
    assert subprocess.run(command, check=False).returncode == -9
    with Factory(tmp_path, clock=clock) as factory:
        stand = factory.monitor("guess")["checkpoints"]
        assert [one["version"] for one in stand] == [2, 2]
        lost = {"", *SHOPS} - {one["segment"] for one in stand}
        more = asked(factory, 100, 2)
        clock.advance(timedelta(hours=7))
        learned(factory)
        rows = {
            (one["segment"], one["version"]): one["rows"] for one in factory.monitor("guess")["checkpoints"]
        }
        for segment in ("", *SHOPS):
            mine = [(row, truth) for row, truth in told + more if segment in ("", row["shop"])]
            names = (segment,) if segment else ()
            river, last = native(factory, 1, names), 2 if segment in lost else 3
            losses(river, mine)
            assert native(factory, last, names).weights["x"] == river.weights["x"]
            assert sum(rows[key] for key in rows if key[0] == segment) == len(mine)
        assert len(rows) == 5
        assert learned(factory)["rows"] == 0


HANGS = """
import os, signal, sys
from modelworks.factory import Factory
from modelworks.pipelines import online

def hang(candidate):
    os.kill(os.getpid(), signal.SIGSTOP)   # all of it is learned, nothing is written
    return losses(candidate)

losses, online.losses = online.losses, hang
with Factory(sys.argv[1]) as factory:
    factory.apply()
"""


@pytest.mark.fault
@pytest.mark.usefixtures("everywhere")
def test_one_that_hangs_while_it_learns_is_not_waited_for_and_writes_nothing_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELWORKS_LEDGER_LEASE", "1s")
    with begun(tmp_path) as factory:
        told = asked(factory, 60, 1)
        other = subprocess.Popen(
            [sys.executable, "-c", HANGS, str(tmp_path)], stderr=subprocess.PIPE, text=True
        )
        os.waitid(os.P_PID, other.pid, os.WSTOPPED)
        rows = 0
        while not rows:  # until its lease is over
            rows = sum(one["rows"] for one in plain(factory.apply())["learned"])
        assert rows == 60
        os.kill(other.pid, signal.SIGCONT)
        said = other.communicate()[1]
        assert "was taken over by another process" in said
        assert [one["version"] for one in factory.monitor("guess")["checkpoints"]] == [2]
        river = native(factory, 1)
        losses(river, told)
        assert native(factory, 2).weights["x"] == river.weights["x"]
        assert learned(factory)["rows"] == 0
        with pytest.raises(NotFound):
            factory.model("guess@3")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("checkpoint=40", "checkpoint=1", "a checkpoint after 1"),
        ("checkpoint=40", 'checkpoint="soon"', "soon"),
        ('"x": mw.Number()', '"x": mw.Number(sensitive="drop")', "cannot learn online from 'x'"),
    ],
)
def test_what_could_not_be_learned_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    project(tmp_path)
    code = (tmp_path / "factory.py").read_text()
    (tmp_path / "factory.py").write_text(code.replace(old, new))
    with pytest.raises(Invalid, match=said):
        load_project(tmp_path)


def test_what_is_learned_after_another_took_over_is_not_written(tmp_path: Path) -> None:
    with begun(tmp_path) as factory:
        asked(factory, 60, 1)
        factory.drain()
        model = factory.project.model("guess")
        with factory.stores.ledger.leases.take("turn guess") as lease:
            assert lease is not None
            with factory.stores.ledger.write() as db:
                db.execute(update(leases).values(token="another"))
            with pytest.raises(Conflict, match="was taken over"):
                online.turn(factory.stations, model, lease)
        assert [one["version"] for one in factory.versions("guess")] == [1]
