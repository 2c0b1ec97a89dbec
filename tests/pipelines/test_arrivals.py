"""Versions that come as files: kept, read beside the server, never unpickled without a person's word."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import yaml
from sklearn.linear_model import LogisticRegression

from modelworks.core.errors import Conflict, Invalid, NotReady
from modelworks.core.ref import Ref
from modelworks.factory import Factory
from modelworks.pipelines import arrivals as arriving
from modelworks.pipelines import by_hand
from modelworks.registry import arrivals

PROCESSES = multiprocessing.get_context("forkserver")


@pytest.fixture
def factory(tmp_path: Path) -> Any:
    (tmp_path / "factory.py").write_text("")
    with Factory(tmp_path) as made:
        yield made


def fitted() -> LogisticRegression:
    chance = np.random.default_rng(7)
    values = chance.normal(size=(200, 2))
    return LogisticRegression().fit(values, values.sum(axis=1) > 0)


def files(factory: Factory, flavor: dict[str, Any], content: dict[str, bytes]) -> dict[str, str]:
    """A folder of MLflow's, in the store."""
    columns = [{"name": name, "type": "double", "required": True} for name in ("a", "b")]
    described = {"flavors": flavor, "signature": {"inputs": json.dumps(columns)}}
    put = factory.stores.artifacts.put
    return {"MLmodel": put(yaml.safe_dump(described).encode()), **{n: put(c) for n, c in content.items()}}


def pickle(factory: Factory, tmp_path: Path) -> dict[str, str]:
    joblib.dump(fitted(), tmp_path / "model.pkl")
    content = (tmp_path / "model.pkl").read_bytes()
    return files(factory, {"sklearn": {"pickled_model": "model.pkl"}}, {"model.pkl": content})


def skops(factory: Factory) -> dict[str, str]:
    from skops import io

    return files(factory, {"sklearn": {"pickled_model": "model.skops"}}, {"model.skops": io.dumps(fitted())})


def register(factory: Factory, came: dict[str, str] | None, name: str = "m") -> Ref:
    stations = factory.stations
    with factory.stores.ledger.write() as db:
        stations.registry.declare(
            db, name=name, dataset=None, target=None, features=(), per=(), definition={}, code=""
        )  # fmt: skip
        made = arriving.register(db, stations, name, "models:/x", came, run=None, logged=None)
    return made.ref


def state(factory: Factory, ref: Ref) -> str:
    with factory.stores.ledger.read() as db:
        return arrivals.get(db, ref).state


def test_what_is_data_is_read_and_can_be_served(factory: Factory) -> None:
    ref = register(factory, skops(factory))
    assert factory.stations.registry.get(ref).package.kept
    with pytest.raises(NotReady, match="not been read"):
        factory.deploy(str(ref))
    assert factory.read_arrivals() == 1
    assert factory.read_arrivals() == 0
    assert state(factory, ref) == "read"
    package = factory.stations.registry.get(ref).package
    assert (package.flavor, [field.name for field in package.signature.inputs]) == ("sklearn", ["a", "b"])
    factory.deploy(str(ref))
    (answer,) = factory.predict("m", [{"a": 0.5, "b": 1.0}])["predictions"]
    assert answer["output"] == pytest.approx(fitted().predict_proba([[0.5, 1.0]])[0, 1])


def test_a_pickle_waits_for_a_person(factory: Factory, tmp_path: Path) -> None:
    ref = register(factory, pickle(factory, tmp_path))
    assert factory.read_arrivals() == 0
    assert state(factory, ref) == "kept"
    reason = factory.stations.registry.get(ref).package.proof.reason
    assert "pickle" in reason
    assert f"modelworks models trust '{ref}'" in reason
    with pytest.raises(NotReady, match="pickle"):
        factory.deploy(str(ref))
    told = factory.trust_model(str(ref))
    assert (told["flavor"], told["deployed"]) == ("sklearn", False)
    factory.deploy(str(ref))
    with pytest.raises(Conflict):
        factory.trust_model(str(ref))


def test_a_champion_answers_as_soon_as_it_can(factory: Factory, tmp_path: Path) -> None:
    first, second = register(factory, skops(factory)), register(factory, pickle(factory, tmp_path))
    arriving.set_alias(factory.stations, first, "champion")
    assert factory.deployments("m") == []
    factory.read_arrivals()
    assert factory.deployments("m")[0]["version"] == 1
    arriving.set_alias(factory.stations, second, "champion")
    assert factory.deployments("m")[0]["version"] == 1, "what is kept does not answer"
    assert factory.stations.registry.aliases("m", ()) == {"champion": 2}
    assert factory.trust_model(str(second))["deployed"]
    assert factory.deployments("m")[0]["version"] == 2
    with pytest.raises(Invalid):
        arriving.set_alias(factory.stations, second, "latest")


@pytest.mark.parametrize(
    ("flavor", "content", "why"),
    [
        ({"python_function": {"loader_module": "os"}}, {}, "of no flavor that can be imported"),
        ({"lightgbm": {"data": "model.lgb"}}, {"model.lgb": b"nothing"}, "is no model in LightGBM's text format"),
        ({"sklearn": {"pickled_model": "../../../etc/passwd"}}, {}, "outside of itself"),
        ({"onnx": {"data": "model.onnx"}}, {}, "lacks the file"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_why(
    factory: Factory, flavor: dict[str, Any], content: dict[str, bytes], why: str
) -> None:
    ref = register(factory, files(factory, flavor, content))
    assert factory.read_arrivals() == 0
    assert state(factory, ref) == "kept"
    assert why in factory.stations.registry.get(ref).package.proof.reason


def test_files_that_are_elsewhere(factory: Factory) -> None:
    ref = register(factory, None)
    assert state(factory, ref) == "kept"
    assert "elsewhere" in factory.stations.registry.get(ref).package.proof.reason
    with pytest.raises(Invalid):
        factory.trust_model(str(ref))
    with pytest.raises(Invalid):
        register(factory, {})


def _die(root: str) -> None:
    arriving._take = lambda *_a, **_k: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
    with Factory(root) as factory:
        factory.read_arrivals()


@pytest.mark.fault
def test_what_kills_its_reader_is_not_read_twice(factory: Factory, tmp_path: Path) -> None:
    poison, fine = register(factory, skops(factory), "a"), register(factory, skops(factory), "b")
    reader = PROCESSES.Process(target=_die, args=(str(tmp_path),))
    reader.start()
    reader.join()
    assert reader.exitcode == -signal.SIGKILL
    assert {state(factory, poison), state(factory, fine)} == {"reading", "waiting"}
    assert factory.read_arrivals() == 1
    cut = poison if state(factory, poison) == "kept" else fine
    assert "ended the process" in factory.stations.registry.get(cut).package.proof.reason
    assert factory.trust_model(str(cut))["flavor"] == "sklearn", "a person may try again"


def _die_before_deploying(root: str) -> None:
    by_hand.deploy = lambda *_a, **_k: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
    with Factory(root) as factory:
        factory.read_arrivals()


@pytest.mark.fault
def test_a_champion_answers_though_its_reader_died_before_it_was_deployed(
    factory: Factory, tmp_path: Path
) -> None:
    ref = register(factory, skops(factory))
    arriving.set_alias(factory.stations, ref, "champion")
    reader = PROCESSES.Process(target=_die_before_deploying, args=(str(tmp_path),))
    reader.start()
    reader.join()
    assert reader.exitcode == -signal.SIGKILL
    assert factory.deployments("m") == []
    factory.read_arrivals()
    assert factory.deployments("m")[0]["version"] == 1
    assert state(factory, ref) == "read"
    assert not factory.stations.registry.get(ref).package.kept
