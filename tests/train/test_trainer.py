"""Training for real: small data, real processes, and everything that may go wrong in a segment."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from modelworks.core.errors import Invalid
from modelworks.core.measure import Reference
from modelworks.core.ref import Segment, parse_segment
from modelworks.models import packaging
from modelworks.models.definition import Definition
from modelworks.models.layout import to_batch
from modelworks.stores.artifacts import LocalArtifacts
from modelworks.train import trainer
from modelworks.train.candidate import Candidate

START = datetime(2013, 1, 1, tzinfo=UTC)
EVERY = {
    (), ("UA",), ("AA",), ("UA", "EWR"), ("UA", "JFK"), ("AA", "EWR"), ("AA", "JFK"),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _workers() -> Iterator[None]:
    yield
    trainer.close()


def rows(number: int = 800) -> pl.DataFrame:
    """Two airlines from three airports, in random order of time; from LGA there are few."""
    random = np.random.default_rng(7)
    carrier = random.choice(["UA", "AA"], number)
    x = random.normal(size=number)
    chance = 1 / (1 + np.exp(-(2 * x + (carrier == "UA"))))
    minutes = random.permutation(number)
    return pl.DataFrame(
        {
            "carrier": carrier,
            "origin": random.choice(["EWR", "JFK", "LGA"], number, p=[0.6, 0.37, 0.03]),
            "when": [START + timedelta(minutes=int(minute)) for minute in minutes],
            "minute": minutes.astype(float),
            "x": x,
            "late": (random.random(number) < chance).astype(int),
            "delay": 3 * x + random.normal(size=number),
        }
    ).with_columns(pl.when(pl.int_range(number) % 50 > 0).then("x").alias("x"))


def fit(frame: pd.DataFrame, y: Any, params: dict[str, Any]) -> Any:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    texts = OneHotEncoder(handle_unknown="ignore")
    prepare = make_column_transformer((numbers, ["x"]), (texts, ["origin"]))
    return make_pipeline(prepare, LogisticRegression(C=params.get("C", 1.0))).fit(frame, y)


def definition(**changes: Any) -> Definition:
    given: dict[str, Any] = {
        "name": "delay",
        "dataset": "flights",
        "target": "late",
        "features": ("x", "origin"),
        "fit": fit,
        "per": ("carrier", "origin"),
        "min_rows": 50,
        "metrics": ("log_loss", "roc_auc"),
    }
    return Definition(**{**given, **changes})


def train(what: Definition, frame: pl.DataFrame, root: Path, **more: Any) -> dict[Segment, Candidate]:
    found = trainer.train(what, frame, time="when", artifacts_root=root, workers=2, **more)
    return {candidate.segment: candidate for candidate in found}


def members(frame: pl.DataFrame, segment: Segment) -> pl.DataFrame:
    """The rows of a segment in the order of time."""
    for column, value in zip(("carrier", "origin"), segment, strict=False):
        frame = frame.filter(pl.col(column) == value)
    return frame.sort("when")


def test_every_level_gets_a_model_of_its_own_rows(tmp_path: Path) -> None:
    frame = rows()
    found = train(definition(), frame, tmp_path)
    assert set(found) == EVERY
    for segment, candidate in found.items():
        assert candidate.status == "done", candidate.error
        mine = members(frame, segment)
        held = mine.tail(round(mine.height * 0.2))
        assert candidate.rows_trained + candidate.rows_held_out == mine.height
        assert candidate.rows_held_out == held.height
        assert candidate.rows_filter == {
            **dict(zip(("carrier", "origin"), segment, strict=False)),
            "time >=": mine["when"][0].isoformat(),
            "time <": held["when"][0].isoformat(),
        }
        assert candidate.total == len(found)
        assert candidate.started <= candidate.ended
        assert candidate.seconds["fit"] > 0


def test_the_metrics_are_those_of_the_packaged_model_on_the_newest_rows(tmp_path: Path) -> None:
    frame = rows()
    for segment, candidate in train(definition(), frame, tmp_path, segments=[(), ("UA", "EWR")]).items():
        held = members(frame, segment).tail(candidate.rows_held_out).to_pandas()
        package = candidate.package
        assert package is not None
        answers = packaging.load(package, LocalArtifacts(tmp_path)).predict(to_batch(held, package.signature))
        truth = held["late"].to_numpy()
        assert candidate.metrics["log_loss"] == pytest.approx(
            log_loss(truth, answers[:, 1].astype(float)), rel=1e-4
        )
        assert candidate.metrics["roc_auc"] == pytest.approx(roc_auc_score(truth, answers[:, 1]), rel=1e-4)


def test_the_reference_has_the_features_of_all_rows_and_the_outputs_of_those_held_out(tmp_path: Path) -> None:
    candidate = train(definition(), rows(), tmp_path, segments=[()])[()]
    assert candidate.package is not None
    assert candidate.package.reference is not None
    reference = Reference.from_bytes(LocalArtifacts(tmp_path).get(candidate.package.reference))
    assert reference.rows == candidate.rows_held_out
    assert set(reference.features.sum(axis=1)) == {candidate.rows_trained + candidate.rows_held_out}
    assert reference.categories == (("EWR", "JFK", "LGA"),)
    # What each feature does is asked of the model, about rows that it has learned from as well.
    assert reference.main_effects is not None
    x = reference.main_effects[0, 0, reference.features[0] > 0]
    assert (np.diff(x[:-1]) > 0).all()


def test_more_than_two_classes(tmp_path: Path) -> None:
    frame = rows().with_columns(
        pl.when(pl.col("x") > 0.5)
        .then(pl.lit("up"))
        .when(pl.col("late") == 1)
        .then(pl.lit("even"))
        .otherwise(pl.lit("down"))
        .alias("way")
    )
    found = train(definition(target="way", metrics=("log_loss", "accuracy")), frame, tmp_path)
    champions = {segment: candidate.package for segment, candidate in found.items()}
    for candidate in train(
        definition(target="way", metrics=("accuracy",)), frame, tmp_path, champions=champions
    ).values():
        assert candidate.package is not None, candidate.error
        assert candidate.package.signature.classes == ("down", "even", "up")
        assert candidate.paired is not None
        assert candidate.paired.mean == pytest.approx(0.0, abs=1e-5)
        assert candidate.champion_metrics == candidate.metrics


def test_no_fit_sees_a_row_of_the_time_it_is_judged_on(tmp_path: Path) -> None:
    def spy(frame: pd.DataFrame, y: Any, params: dict[str, Any]) -> Any:
        Path(params["folder"], f"{len(y)}.json").write_text(json.dumps(frame["minute"].tolist()))
        return make_pipeline(
            make_column_transformer((StandardScaler(), ["minute"])), LogisticRegression()
        ).fit(frame, y)

    seen = tmp_path / "seen"
    seen.mkdir()
    spying = definition(fit=spy, features=("minute",), params={"folder": str(seen)})
    frame = rows()
    for segment, candidate in train(spying, frame, tmp_path / "artifacts").items():
        mine = members(frame, segment)["minute"].to_list()
        given = json.loads((seen / f"{candidate.rows_trained}.json").read_text())
        assert given == mine[: candidate.rows_trained]


def test_rows_from_the_present_on_do_not_exist(tmp_path: Path) -> None:
    frame, present = rows(), START + timedelta(minutes=500)
    then = train(definition(), frame, tmp_path, as_of=present, segments=[()])[()]
    alone = train(definition(), frame.filter(pl.col("when") < present), tmp_path, segments=[()])[()]
    assert then.rows_trained + then.rows_held_out == 500
    assert then.metrics == alone.metrics


def test_the_same_rows_and_code_make_the_same_model(tmp_path: Path) -> None:
    first, second = (train(definition(), rows(), tmp_path) for _ in range(2))
    for segment, candidate in first.items():
        assert candidate.metrics == second[segment].metrics
        assert candidate.package == second[segment].package


def test_only_what_is_asked_for_and_not_finished_is_trained(tmp_path: Path) -> None:
    found = train(definition(), rows(), tmp_path, segments=[("UA",), ("AA", "JFK")], skip=[("UA",)])
    assert set(found) == {("AA", "JFK")}
    assert train(definition(), rows(), tmp_path, skip=EVERY) == {}


def test_a_segment_with_too_few_rows_fails_with_the_reason(tmp_path: Path) -> None:
    found = train(definition(), rows(), tmp_path, segments=[("UA", "LGA"), ("XX",)])
    few = members(rows(), ("UA", "LGA")).height
    assert found["UA", "LGA"].error == (
        f"delay[UA,LGA]: it has {few} rows with a target, a model of its own needs 50"
    )
    assert found[("XX",)].error == "delay[XX]: it has 0 rows with a target, a model of its own needs 50"
    assert {candidate.status for candidate in found.values()} == {"failed"}


def test_a_target_that_never_changes_fails_alone(tmp_path: Path) -> None:
    frame = rows().with_columns(pl.when(pl.col("carrier") != "UA").then("late").otherwise(1).alias("late"))
    found = train(definition(), frame, tmp_path)
    failed = {segment for segment, candidate in found.items() if candidate.status == "failed"}
    assert failed == {("UA",), ("UA", "EWR"), ("UA", "JFK")}
    assert "the target is 1 in all of the" in (found[("UA",)].error or "")
    assert not found[("UA",)].artifacts


def test_rows_of_one_time_or_none_at_all_cannot_train(tmp_path: Path) -> None:
    still = rows().with_columns(pl.lit(START).alias("when"))
    assert "they share one time" in (train(definition(per=()), still, tmp_path)[()].error or "")
    assert train(definition(), rows().clear(), tmp_path) == {}
    assert train(definition(), rows().clear(), tmp_path, segments=[()])[()].status == "failed"


def test_a_metric_that_is_undefined_is_none(tmp_path: Path) -> None:
    newest = pl.col("when") >= pl.col("when").sort().gather(pl.len() * 3 // 4).first()
    frame = rows().with_columns(pl.when(newest).then(0).otherwise("late").alias("late"))
    candidate = train(definition(per=()), frame, tmp_path)[()]
    assert candidate.status == "done", candidate.error
    assert candidate.metrics["roc_auc"] is None
    assert candidate.metrics["log_loss"] is not None


def test_a_champion_is_scored_on_the_candidate_s_rows(tmp_path: Path) -> None:
    frame = rows()
    champions = {
        segment: candidate.package
        for segment, candidate in train(definition(params={"C": 1e-4}), frame, tmp_path).items()
        if candidate.package is not None
    }
    for segment, candidate in train(definition(), frame, tmp_path, champions=champions).items():
        held = members(frame, segment).tail(candidate.rows_held_out).to_pandas()
        truth = held["late"].to_numpy()
        losses = []
        for package in (candidate.package, champions[segment]):
            assert package is not None
            scores = packaging.load(package, LocalArtifacts(tmp_path)).predict(
                to_batch(held, package.signature)
            )
            losses.append(-np.log(scores[np.arange(len(truth)), truth].astype(float)))
        difference = losses[0] - losses[1]
        paired, theirs = candidate.paired, candidate.champion_metrics
        assert paired is not None
        assert theirs is not None
        assert theirs["log_loss"] == pytest.approx(losses[1].mean(), rel=1e-4)
        assert paired.mean == pytest.approx(difference.mean(), abs=1e-5)
        assert paired.standard_error == pytest.approx(difference.std(ddof=1) / np.sqrt(len(truth)), rel=1e-3)
        assert (paired.rows, paired.loss) == (len(truth), "log_loss")


def test_a_champion_that_needs_a_lost_column_is_not_compared(tmp_path: Path) -> None:
    frame = rows()
    package = train(definition(per=()), frame, tmp_path)[()].package
    assert package is not None
    narrow = definition(per=(), features=("minute",), fit=on_minute)
    wide = train(narrow, frame, tmp_path, champions={(): package})[()]
    assert wide.paired is not None
    lost = train(narrow, frame.drop("x"), tmp_path, champions={(): package})[()]
    assert lost.status == "done"
    assert lost.champion_metrics is None
    assert lost.paired is None


def on_minute(frame: pd.DataFrame, y: Any, params: dict[str, Any]) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, y)


def test_a_regression_is_trained_and_compared_by_its_squares(tmp_path: Path) -> None:
    def line(frame: pd.DataFrame, y: Any, params: dict[str, Any]) -> Any:
        return make_pipeline(SimpleImputer(), LinearRegression(fit_intercept=params["intercept"])).fit(
            frame, y
        )

    what = definition(
        target="delay", features=("x",), fit=line, metrics=("rmse",), per=(), params={"intercept": True}
    )
    frame = rows()
    first = train(what, frame, tmp_path)[()]
    assert first.package is not None, first.error
    again = train(replace(what, params={"intercept": False}), frame, tmp_path, champions={(): first.package})[
        ()
    ]
    mine, theirs, before = (
        again.metrics["rmse"],
        (again.champion_metrics or {})["rmse"],
        first.metrics["rmse"],
    )
    assert again.paired is not None
    assert again.paired.loss == "squared_error"
    assert mine is not None
    assert theirs is not None
    assert theirs == pytest.approx(before, rel=1e-4)
    assert again.paired.mean == pytest.approx(mine**2 - theirs**2, rel=1e-3, abs=1e-6)


def test_a_fit_that_raises_says_where_and_stops_nothing(tmp_path: Path) -> None:
    def sour(frame: pd.DataFrame, y: Any, params: dict[str, Any]) -> Any:
        if len(y) > params["most"]:
            raise ValueError("too much for me")
        return fit(frame, y, params)

    found = train(definition(fit=sour, params={"most": 500}), rows(), tmp_path)
    assert {segment for segment, candidate in found.items() if candidate.status == "failed"} == {()}
    assert found[()].error == "delay: ValueError: too much for me"
    trace = LocalArtifacts(tmp_path).get(found[()].artifacts["traceback"]).decode()
    assert "in sour" in trace
    assert found[()].rows_trained > 500


def test_a_fit_that_returns_nothing_says_so(tmp_path: Path) -> None:
    found = train(definition(fit=lambda frame, y, params: None, per=()), rows(), tmp_path)
    assert "return the fitted model" in (found[()].error or "")


def test_warnings_are_kept_with_the_candidate(tmp_path: Path) -> None:
    def hasty(frame: pd.DataFrame, y: Any, params: dict[str, Any]) -> Any:
        import warnings

        for _ in range(3):
            warnings.warn("in a hurry", UserWarning, stacklevel=1)
        return fit(frame, y, params)

    assert "UserWarning: in a hurry" in train(definition(fit=hasty, per=()), rows(), tmp_path)[()].warnings


@pytest.mark.fault
def test_a_fit_that_ends_its_process_fails_alone(tmp_path: Path) -> None:
    def lethal(frame: pd.DataFrame, y: Any, params: dict[str, Any]) -> Any:
        if (frame["origin"] == "JFK").all():
            os._exit(9)
        return fit(frame, y, params)

    found = train(definition(fit=lethal), rows(), tmp_path)
    assert set(found) == EVERY
    failed = {segment for segment, candidate in found.items() if candidate.status == "failed"}
    assert failed == {("UA", "JFK"), ("AA", "JFK")}
    assert found["UA", "JFK"].error == (
        "delay[UA,JFK]: the worker process exited with status 9, 2 times at this segment"
    )


@pytest.mark.fault
def test_a_worker_that_is_killed_in_the_middle_costs_nothing(tmp_path: Path) -> None:
    def once(frame: pd.DataFrame, y: Any, params: dict[str, Any]) -> Any:
        marker = Path(params["marker"])
        if (frame["origin"] == "JFK").all() and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return fit(frame, y, params)

    found = train(
        definition(fit=once, params={"marker": str(tmp_path / "marker")}), rows(), tmp_path / "artifacts"
    )
    assert set(found) == EVERY
    assert {candidate.status for candidate in found.values()} == {"done"}
    assert (tmp_path / "marker").exists()


PARENT = """
import sys
from pathlib import Path
import polars as pl
from modelworks.core.ref import segment_text
from modelworks.models.definition import Definition
from modelworks.train import trainer

def fit(frame, y, params):
    from sklearn.linear_model import LogisticRegression
    return LogisticRegression().fit(frame, y)

done, artifacts, rows = map(Path, sys.argv[1:])
definition = Definition("delay", "flights", "late", ("minute",), fit, ("carrier", "origin"), min_rows=50)
frame = pl.read_parquet(rows)
for candidate in trainer.train(definition, frame, time="when", artifacts_root=artifacts, workers=2):
    (done / f"-{segment_text(candidate.segment)}").touch()
    print("one", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.fault
def test_a_killed_training_is_resumed_without_doing_anything_twice(tmp_path: Path) -> None:
    done = tmp_path / "done"
    done.mkdir()
    rows().write_parquet(tmp_path / "rows.parquet")
    places = [str(tmp_path / name) for name in ("done", "artifacts", "rows.parquet")]
    command = [sys.executable, "-c", PARENT, *places]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdin is not None
    assert first.stdout is not None
    for _ in range(3):
        assert first.stdout.readline() == "one\n"
        if len(list(done.iterdir())) < 3:
            first.stdin.write("\n")
            first.stdin.flush()
    first.kill()
    first.communicate()
    assert len(list(done.iterdir())) == 3
    skip = [parse_segment(path.name.removeprefix("-")) for path in done.iterdir()]
    rest = train(definition(), rows(), tmp_path / "artifacts", skip=skip)
    assert set(rest) == EVERY - set(skip)
    assert {(candidate.status, candidate.total) for candidate in rest.values()} == {("done", len(EVERY) - 3)}


def test_a_frame_without_what_is_needed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="missing: late"):
        train(definition(), rows().drop("late"), tmp_path)
