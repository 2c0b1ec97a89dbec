"""Joining predictions with their truth, whatever it is and whenever it comes; sketching many versions at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import monitor_world as world
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from modelworks.core.measure import Counts, Reference
from modelworks.models.signature import Label, Task
from modelworks.monitor.logged import batch_of
from modelworks.monitor.performance import binned_auc, mean_loss
from modelworks.monitor.sketch import Sketches, outputs_alone
from modelworks.monitor.window import _OUTCOMES, Known, joined, sketched

_UTC = pl.Datetime("us", "UTC")


def predictions(n: int, keys: Sequence[str | None], **more: Sequence[Any]) -> pl.DataFrame:
    """Rows of the table, all of one segment and version."""
    columns: dict[str, Sequence[Any]] = {
        "id": [f"p{number}" for number in range(n)],
        "time": [world.START] * n,
        "event_time": [world.START] * n,
        "segment": ["UA"] * n,
        "version": [1] * n,
        "key": keys,
        "inputs": ["{}"] * n,
        "output": [0.5] * n,
        "outputs": [""] * n,
        **more,
    }
    kinds = {"time": _UTC, "event_time": _UTC, "key": pl.String, "version": pl.Int64}
    return pl.DataFrame(columns, schema_overrides=kinds)


def outcomes(*told: tuple[str | None, str | None, float, int]) -> pl.DataFrame:
    """Of (prediction id, key, value, minute in which it was received)."""
    rows = [(name, key, world.START + timedelta(minutes=at), value, None) for name, key, value, at in told]
    return pl.DataFrame(rows, schema=_OUTCOMES, orient="row")


def test_an_outcome_by_id_is_of_that_prediction_and_by_key_of_all_of_that_row() -> None:
    rows = predictions(4, ["a", "b", "b", None])
    found = joined(rows, outcomes(("p0", None, 1.0, 1), (None, "b", 0.0, 2), ("p9", None, 1.0, 3)))
    assert found["value"].to_list() == [1.0, 0.0, 0.0, None]
    assert found["id"].to_list() == rows["id"].to_list()


def test_no_outcomes_leave_the_truth_open() -> None:
    found = joined(predictions(2, ["a", None]), pl.DataFrame(schema=_OUTCOMES))
    assert found["value"].to_list() == [None, None]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_last_received_counts_in_whatever_order_and_however_often_they_came(data: st.DataObject) -> None:
    told = data.draw(
        st.lists(
            st.tuples(
                st.sampled_from(["p0", "p1", "p2", None]), st.sampled_from(["a", "b"]), st.floats(0, 1)
            ),
            max_size=12,
        )
    )
    stated = [(name, None if name else key, value, minute) for minute, (name, key, value) in enumerate(told)]
    expected: list[float | None] = []
    for name, key in (("p0", "a"), ("p1", "b"), ("p2", "b")):
        mine = [value for who, what, value, _ in stated if who == name or (who is None and what == key)]
        expected.append(mine[-1] if mine else None)
    shuffled = data.draw(st.permutations(stated + stated[: data.draw(st.integers(0, len(stated)))]))
    found = joined(predictions(3, ["a", "b", "b"]), outcomes(*shuffled))
    assert found["value"].to_list() == expected


# -- truth of every kind ---------------------------------------------------------------------------------


def sketch(
    folder: Path, task: Task, classes: tuple[Label, ...], truth: Sequence[Any], **more: Sequence[Any]
) -> Sketches:
    """One window of rows with these truths: numbers in ``value``, texts in ``label``."""
    made = world.World(folder, ["UA"], task, classes)
    known = {("UA", 1): Known(made.signature, made.references["UA", 1])}
    rows = predictions(len(truth), [None] * len(truth), **more).with_columns(
        value=pl.Series([None if isinstance(one, str) else one for one in truth], dtype=pl.Float64),
        label=pl.Series([one if isinstance(one, str) else None for one in truth], dtype=pl.String),
    )
    ((keys, sketches),) = sketched(rows, known)
    assert keys.rows() == [("UA", 1, world.START)]
    return sketches


@pytest.mark.parametrize(
    ("classes", "truth"),
    [((0, 1), [1.0, 0.0, None, 1.0, 0.0]), ((False, True), [1.0, 0.0, None, 1.0, 0.0]),
     ((-1, 1), [1.0, -1.0, None, 1.0, -1.0]), (("no", "yes"), ["yes", "no", None, "yes", "no"]),
     (("no", "yes"), ["yes", "no", 1.0, "yes", "no"]), ((0, 1), [1.0, 0.0, "yes", 1.0, 0.0])],
)  # fmt: skip
def test_binary_truth_is_the_second_class(tmp_path: Path, classes: Any, truth: list[Any]) -> None:
    output = [0.9, 0.2, 0.5, 0.4, 0.7]
    found = sketch(tmp_path, "binary", classes, truth, output=output)
    there = [0, 1, 3, 4]
    happened = [1, 0, 1, 0]
    assert found.sums[0, :3].tolist() == [5, 4, pytest.approx(sum(output))]
    loss, _ = mean_loss(found.sums)
    assert loss[0] == pytest.approx(log_loss(happened, [output[place] for place in there]))
    assert binned_auc(found.counts.outputs)[0] == roc_auc_score(happened, [output[place] for place in there])
    assert found.counts.outputs[0].sum(axis=1).tolist() == [2, 2, 1]


@pytest.mark.parametrize(
    ("classes", "truth"), [(("a", "b", "c"), ["a", "c", None]), ((0, 1, 2), [0.0, 2.0, None])]
)
def test_several_classes_are_judged_by_the_answer_that_was_logged(
    tmp_path: Path, classes: tuple[Label, ...], truth: list[Any]
) -> None:
    given_ = [[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]
    names = [str(name) for name in classes]
    logged = [
        json.dumps({"label": "", "probabilities": dict(zip(names, row, strict=True))}) for row in given_
    ]
    found = sketch(
        tmp_path, "multiclass", classes, truth, outputs=logged, output=[max(row) for row in given_]
    )
    loss, _ = mean_loss(found.sums)
    assert loss[0] == pytest.approx(log_loss([0, 2], given_[:2], labels=[0, 1, 2]))
    assert found.counts.outputs[0].sum(axis=1).tolist() == [1, 1, 1]  # wrong, right, not known


def test_values_are_judged_by_the_squared_error(tmp_path: Path) -> None:
    found = sketch(tmp_path, "regression", (), [3.0, None, 5.0], output=[1.0, 9.0, 5.5])
    assert found.sums[0].tolist() == [3, 2, 15.5, 4.25, 16.0625]
    assert found.counts.outputs[0].sum(axis=1).tolist() == [0, 0, 3]


# -- sketches ---------------------------------------------------------------------------------------------


def random_rows(
    rng: np.random.Generator, n: int, made: world.World
) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    sent = world.rows(rng, n)
    days = [world.START + world.DAY * int(day) for day in rng.integers(0, 3, n)]
    frame = predictions(
        n,
        [None] * n,
        event_time=[
            day + timedelta(hours=int(hour)) for day, hour in zip(days, rng.integers(0, 24, n), strict=True)
        ],
        segment=rng.choice(["UA", "AA", "never registered"], n).tolist(),
        inputs=[json.dumps(row) for row in sent],
        output=world.score(sent).astype(float).tolist(),
    )
    truth = np.where(rng.random(n) < 0.3, np.nan, rng.integers(0, 2, n))
    return frame.with_columns(value=pl.Series(truth).fill_nan(None), label=pl.lit(None, pl.String)), sent


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 80))
def test_every_window_is_what_its_rows_alone_give(
    tmp_path_factory: pytest.TempPathFactory, seed: int, n: int
) -> None:
    made = world.World(tmp_path_factory.mktemp("w"))
    known = {key: Known(made.signature, one) for key, one in made.references.items()}
    frame, sent = random_rows(np.random.default_rng(seed), n, made)
    total = 0
    for keys, sketches in sketched(frame, known):
        for place, (segment, version, day) in enumerate(keys.iter_rows()):
            mine = frame.with_row_index("at").filter(
                pl.col("segment") == segment, pl.col("event_time").dt.truncate("1d") == day
            )
            at = mine["at"].to_list()
            alone = made.references[segment, version].count(
                world.batch([sent[row] for row in at]), mine["output"].to_numpy(),
                mine["value"].cast(pl.Float64).fill_null(np.nan).to_numpy(),
            )  # fmt: skip
            assert (sketches.counts.features[place] == alone.features).all()
            assert (sketches.counts.outputs[place] == alone.outputs).all()
            assert sketches.sums[place, 0] == len(at)
            total += len(at)
    assert total == len(frame.filter(pl.col("segment") != "never registered"))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 120))
def test_merging_windows_is_sketching_their_rows_together(
    tmp_path_factory: pytest.TempPathFactory, seed: int, n: int
) -> None:
    made = world.World(tmp_path_factory.mktemp("w"), ["UA"])
    known = {key: Known(made.signature, one) for key, one in made.references.items()}
    rng = np.random.default_rng(seed)
    frame, _ = random_rows(rng, n, made)
    frame = frame.with_columns(segment=pl.lit("UA"))
    ((_, apart),) = sketched(frame, known)
    ((_, whole),) = sketched(frame.with_columns(event_time=pl.lit(world.START)), known)
    group = rng.integers(0, 2, len(apart))
    halves = Sketches.unpack(apart.sums, apart.pack(), 3).merge(group, 2)
    merged = halves.merge(np.zeros(2, np.int64), 1)
    assert merged.sums == pytest.approx(whole.sums)
    assert (merged.counts.features == whole.counts.features).all()
    assert (merged.counts.outputs == whole.counts.outputs).all()
    assert (outputs_alone(apart.pack()).sum(axis=0) == whole.counts.outputs[0]).all()


def test_large_counts_survive_packing() -> None:
    rng = np.random.default_rng(0)
    made = world.batch(world.rows(rng, 500))
    counted = Reference.build(made, np.full(500, 0.5)).count(made, np.full(500, 0.5))
    counts = Counts(np.stack([counted.features, counted.features * 0 + 1]), np.stack([counted.outputs] * 2))
    again = Sketches.unpack(np.ones((2, 5)), Sketches(np.ones((2, 5)), counts).pack(), 3)
    assert (again.counts.features == counts.features).all()
    assert (outputs_alone(again.pack()) == counts.outputs).all()


def test_inputs_that_do_not_fit_are_missing_and_cost_only_themselves() -> None:
    layout = (("wind", "rain"), ("day",), "binary")
    texts = [
        '{"wind": 1.5, "rain": true, "day": "Mon"}',
        '{"wind": "storm", "rain": 0, "day": 7}',
        "null",
        "{",
        "[]",
    ]
    whole = batch_of(pl.Series(texts), layout)  # type: ignore[arg-type]
    assert whole.numbers.tolist()[0] == [1.5, 1.0]
    assert whole.numbers[1:, 0].tolist() == pytest.approx([np.nan] * 4, nan_ok=True)
    assert whole.numbers[1, 1] == 0.0
    assert whole.texts[:, 0].tolist() == ["Mon", "", "", "", ""]
    quick = batch_of(pl.Series(texts[:1]), layout)  # type: ignore[arg-type]
    assert (quick.numbers == whole.numbers[:1]).all()
    assert (quick.texts == whole.texts[:1]).all()


def test_inputs_may_be_texts_alone_or_numbers_alone() -> None:
    inputs = pl.Series(['{"wind": 1.5, "day": "Mon"}', '{"wind": 2, "day": "Sun"}'])
    texts = batch_of(inputs, ((), ("day",), "binary"))
    assert (texts.numbers.shape, texts.texts[:, 0].tolist()) == ((2, 0), ["Mon", "Sun"])
    numbers = batch_of(inputs, (("wind",), (), "binary"))
    assert (numbers.texts.shape, numbers.numbers[:, 0].tolist()) == ((2, 0), [1.5, 2.0])


_VALUES = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["a.b", "wind", "day", "é", "more"]), _VALUES, max_size=5), min_size=1
    )
)
def test_inputs_are_the_same_read_by_columns_or_by_rows(rows: list[dict[str, Any]]) -> None:
    layout = (("wind", "a.b"), ("day", "é"), "binary")
    texts = [json.dumps(row, ensure_ascii=len(row) % 2 == 0) for row in rows]
    columns = batch_of(pl.Series(texts, dtype=pl.String), layout)  # type: ignore[arg-type]
    # What is no JSON can only be read by rows.
    by_rows = batch_of(pl.Series([*texts, "{"], dtype=pl.String), layout)  # type: ignore[arg-type]
    assert np.array_equal(columns.numbers, by_rows.numbers[:-1], equal_nan=True)
    assert columns.texts.tolist() == by_rows.texts[:-1].tolist()


def test_a_moment_is_a_day_of_utc(tmp_path: Path) -> None:
    made = world.World(tmp_path, ["UA"])
    moments: list[datetime] = [world.START + timedelta(hours=hour) for hour in (0, 23, 24)]
    frame = predictions(3, [None] * 3, event_time=moments).with_columns(
        value=pl.lit(None, pl.Float64), label=pl.lit(None, pl.String)
    )
    ((keys, sketches),) = sketched(frame, {("UA", 1): Known(made.signature, made.references["UA", 1])})
    assert dict(zip(keys["day"], sketches.sums[:, 0].tolist(), strict=True)) == {
        world.START: 2.0,
        world.START + world.DAY: 1.0,
    }
