"""Runs recorded by hand: one row of the ledger, also when the block fails."""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sqlalchemy import Row, select

from modelworks.core.clock import FrozenClock
from modelworks.core.errors import Conflict, Invalid
from modelworks.core.ref import Ref
from modelworks.models import packaging
from modelworks.models.layout import to_batch
from modelworks.registry.station import RegistryStation
from modelworks.stores import Stores, open_stores
from modelworks.stores.ledger.tables import runs
from modelworks.train.station import TrainStation

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    made = open_stores(tmp_path)
    yield made
    made.ledger.close()


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(NOW)


@pytest.fixture
def station(stores: Stores, clock: FrozenClock, tmp_path: Path) -> TrainStation:
    return TrainStation(stores, RegistryStation(stores.ledger, clock), tmp_path / "artifacts", 1, clock)


def rows(stores: Stores) -> list[Row[tuple[object, ...]]]:
    with stores.ledger.read() as db:
        return list(db.execute(select(runs).order_by(runs.c.started)))


def test_a_run_is_one_row_with_all_that_was_logged(
    station: TrainStation, stores: Stores, clock: FrozenClock, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("by hand")
    with station.run("baseline") as run:
        run.log_params({"C": 0.1}, depth=np.int64(3))
        run.log_params(C=0.2)
        for step, value in enumerate([0.9, 0.5, float("nan")]):
            run.log_metrics({"loss": value}, step=step)
        run.log_metrics(auc=0.7)
        run.log_tags(team="pricing")
        run.log_artifact(tmp_path / "notes.txt")
        digest = run.log_artifact(b"bytes", "raw.bin")
        assert rows(stores) == []
        clock.advance(timedelta(minutes=5))
    (row,) = rows(stores)
    assert (row.id, row.name, row.kind, row.status, row.error) == (
        run.id,
        "baseline",
        "experiment",
        "done",
        None,
    )
    assert row.params == {"C": 0.2, "depth": 3}
    assert row.metrics == {"loss": None, "auc": 0.7}
    assert row.tags == {"team": "pricing"}
    assert row.artifacts["raw.bin"] == digest
    assert stores.artifacts.get(row.artifacts["notes.txt"]) == b"by hand"
    assert json.loads(stores.artifacts.get(row.artifacts["metrics.json"])) == {
        "loss": [[0, 0.9], [1, 0.5], [2, None]]
    }
    assert (row.started, row.ended) == (NOW, NOW + timedelta(minutes=5))


@pytest.mark.parametrize("error", [ValueError("no luck"), KeyboardInterrupt()])
def test_a_run_that_fails_keeps_what_it_had(
    station: TrainStation, stores: Stores, error: BaseException
) -> None:
    with suppress(ValueError, KeyboardInterrupt), station.run("baseline") as run:
        run.log_params(C=1)
        raise error
    (row,) = rows(stores)
    assert row.status == "failed"
    assert row.params == {"C": 1}
    assert row.error in ("ValueError: no luck", "KeyboardInterrupt")


def test_a_model_that_is_logged_is_a_version_at_once(station: TrainStation, stores: Stores) -> None:
    frame = pd.DataFrame({"x": np.arange(40.0), "z": np.arange(40.0) % 7})
    y = np.array(["no", "yes"])[(frame["x"] > 20).astype(int)]
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, y)
    with suppress(RuntimeError), station.run("baseline") as run:
        run.log_metrics(auc=0.7)
        version = run.log_model(model, "churn", frame.head(10))
        assert station.registry.get(Ref("churn", at=1)) == version
        assert [row.status for row in rows(stores)] == ["running"]
        run.log_metrics(auc=0.8)
        raise RuntimeError
    (row,) = rows(stores)
    assert (row.status, row.metrics) == ("failed", {"auc": 0.8})
    assert (version.run, version.version, dict(version.metrics)) == (run.id, 1, {"auc": 0.7})
    assert version.package.signature.classes == ("no", "yes")
    assert version.package.compiled is not None
    assert version.package.environment in stores.artifacts
    assert version.package.code in stores.artifacts
    predictor = packaging.load(version.package, stores.artifacts)
    answers = predictor.predict(to_batch(frame, version.package.signature))
    np.testing.assert_allclose(answers, model.predict_proba(frame), atol=1e-5)


def test_a_run_makes_one_version(station: TrainStation) -> None:
    frame = pd.DataFrame({"x": np.arange(40.0)})
    model = LogisticRegression().fit(frame, frame["x"] > 20)
    with station.run("baseline") as run:
        run.log_model(model, "churn", frame)
        with pytest.raises(Conflict, match="has logged a model already"):
            run.log_model(model, "churn", frame)


def test_what_cannot_be_logged_is_refused(station: TrainStation, stores: Stores) -> None:
    with pytest.raises(Invalid, match="not a number"), station.run("baseline") as run:
        run.log_metrics(loss="small")  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="no name"), station.run("baseline") as run:
        run.log_artifact(b"bytes")
    with pytest.raises(Invalid, match="not a valid run name"), station.run("../run"):
        pass
    assert [row.status for row in rows(stores)] == ["failed", "failed"]
