"""What may go wrong in a fleet: fits that hang, workers that die, parts that don't answer; on processes and on Ray."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from modelworks.core.ref import Segment
from modelworks.jobs.executors import EXECUTORS, Executor
from modelworks.models import packaging
from modelworks.models.definition import Definition
from modelworks.stores.artifacts import LocalArtifacts
from modelworks.train import trainer
from modelworks.train.candidate import Candidate

SHOPS = 20


@pytest.fixture(scope="module", params=["processes", "ray"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    address = request.getfixturevalue("ray_address") if request.param == "ray" else ""
    made = EXECUTORS[request.param](["modelworks.train.preload"], address)
    yield made
    made.close()


def rows() -> pl.DataFrame:
    random = np.random.default_rng(3)
    number = SHOPS * 60
    x = random.normal(size=number)
    return pl.DataFrame(
        {
            "shop": [f"shop {place % SHOPS:02}" for place in range(number)],
            "code": [float(place % SHOPS) for place in range(number)],
            "when": [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=place) for place in range(number)],
            "x": x,
            "bought": (x + random.normal(size=number) > 0).astype(int),
        }
    )


def trouble(X: pd.DataFrame, y: Any, params: dict[str, Any]) -> Any:  # noqa: N803
    """Shop 3 hangs, 5 kills its worker, 7 does so once, 9 and 11 are not answered, 11 only at first; 13 is wrong."""
    shop = int(X["code"].iloc[0]) if X["code"].nunique() == 1 else -1
    began = Path(params["folder"], str(shop))
    with began.open("a") as file:
        file.write("x")
    times = len(began.read_text())
    match shop:
        case 3:
            time.sleep(600)
        case 5:
            os.kill(os.getpid(), signal.SIGKILL)
        case 7 if times == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        case 9:
            raise ConnectionRefusedError("the feature store does not answer")
        case 11 if times == 1:
            try:
                raise TimeoutError("slow")
            except TimeoutError as error:
                raise RuntimeError("no price list") from error
        case 13:
            raise ValueError("wrong")
    return (
        LogisticRegression().fit(X[["x"]].to_numpy(), y)
        if params.get("arrays")
        else LogisticRegression().fit(X, y)
    )


def definition(**changes: Any) -> Definition:
    given: dict[str, Any] = {
        "name": "buys",
        "dataset": "visits",
        "target": "bought",
        "features": ("x", "code"),
        "fit": trouble,
        "per": ("shop",),
        "min_rows": 20,
        "metrics": ("log_loss",),
    }
    return Definition(**{**given, **changes})


@pytest.mark.fault
def test_nothing_that_goes_wrong_in_a_segment_stops_the_fleet(executor: Executor, tmp_path: Path) -> None:
    began, artifacts = tmp_path / "began", tmp_path / "artifacts"
    began.mkdir()
    found: dict[Segment, Candidate] = {}
    shares = []
    for one in trainer.train(
        definition(params={"folder": str(began)}),
        rows(),
        time="when",
        artifacts_root=artifacts,
        scratch=tmp_path / "scratch",
        workers=2,
        executor=executor,
        retries=1,
        limit=8.0,
    ):
        assert one.segment not in found
        assert one.total == SHOPS + 1
        shares.append(one.share)
        found[one.segment] = one
    assert len(found) == SHOPS + 1
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    failed = {segment[0]: one for segment, one in found.items() if one.status == "failed"}
    assert set(failed) == {"shop 03", "shop 05", "shop 09", "shop 13"}
    assert failed["shop 03"].error == "buys[shop 03]: it took longer than 8 s and was ended"
    assert str(failed["shop 05"].error).endswith(", 2 times at this segment")
    assert (
        failed["shop 09"].error == "buys[shop 09]: ConnectionRefusedError: the feature store does not answer"
    )
    assert failed["shop 13"].error == "buys[shop 13]: ValueError: wrong"
    tries = {segment[0]: one.tries for segment, one in found.items() if one.tries > 1}
    assert set(tries) >= {"shop 05", "shop 09", "shop 11"}
    assert set(tries.values()) == {2}  # perhaps others too, which were with one that killed their worker
    assert (
        len((began / "13").read_text()) <= 2
    )  # what is wrong is not tried again, but perhaps beside one that died
    assert not list((tmp_path / "scratch").iterdir())
    for one in found.values():
        if one.package is not None:
            packaging.load(one.package, LocalArtifacts(artifacts))


@pytest.mark.fault
def test_a_segment_whose_worker_died_is_tried_again(executor: Executor, tmp_path: Path) -> None:
    found = trainer.train(
        definition(params={"folder": str(tmp_path)}),
        rows(),
        time="when",
        artifacts_root=tmp_path / "artifacts",
        workers=2,
        segments=[("shop 07",)],
        executor=executor,
        retries=1,
    )
    assert [(one.status, one.tries) for one in found] == [("done", 2)]


def test_without_retries_the_first_failure_counts(executor: Executor, tmp_path: Path) -> None:
    found = trainer.train(
        definition(params={"folder": str(tmp_path)}),
        rows(),
        time="when",
        artifacts_root=tmp_path / "artifacts",
        workers=2,
        segments=[("shop 09",), ("shop 10",)],
        executor=executor,
        retries=0,
    )
    assert {one.segment[0]: (one.status, one.tries) for one in found} == {
        "shop 09": ("failed", 1),
        "shop 10": ("done", 1),
    }
    assert (tmp_path / "9").read_text() == "x"


def test_rows_reach_workers_that_do_not_see_this_machine_s_disk(ray_address: str, tmp_path: Path) -> None:
    """On a cluster of several machines the file may be gone: its content lies in the object store."""
    executor = EXECUTORS["ray"]([], ray_address)
    path = tmp_path / "rows"
    path.write_bytes(b"0123456789" * 100_000)

    def look(shared: Path, item: int) -> tuple[bool, bytes, bool]:
        from modelworks.jobs.executors.shared import buffer

        content = buffer(shared)
        return shared.exists(), content.slice(item, 4).to_pybytes(), content.is_mutable

    results = executor.run(
        look, [1, 2], workers=2, initial=path, files=[path], more=lambda done: follow(done.item)
    )

    def follow(item: int) -> list[tuple[int, float]]:
        path.unlink(missing_ok=True)
        return [(item + 10, 1.0)] if item < 10 else []

    found = {one.item: one.value for one in results}
    executor.close()
    assert {item: value[1] for item, value in found.items() if value} == {
        1: b"1234", 2: b"2345", 11: b"1234", 12: b"2345",
    }  # fmt: skip
    assert found[11] is not None
    assert found[11][::2] == (False, False)  # no such file here, and nobody may change what all look at
