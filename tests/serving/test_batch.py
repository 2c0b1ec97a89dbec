"""Batch scoring says of every row what the server says of it, answers and refusals alike."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
import serve_world as world
from sqlalchemy import select

from modelworks.core.errors import Invalid, ModelworksError
from modelworks.core.plain import to_json
from modelworks.core.ref import Segment
from modelworks.models.package import Package
from modelworks.models.packaging import load
from modelworks.serving.batch import Scorer
from modelworks.serving.fleet import declared_models
from modelworks.serving.scoring import Scoring, Version
from modelworks.serving.station import ServeStation
from modelworks.stores import Stores
from modelworks.stores.ledger.tables import deployments, model_versions


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return world.make_world(tmp_path_factory.mktemp("batch"))


@pytest.fixture(scope="module")
def served(stores: Stores) -> ServeStation:
    station = ServeStation(stores)
    station.refresh()
    return station


def scorer(stores: Stores, model: str) -> Scorer:
    d, v = deployments.c, model_versions.c
    same = (v.model == d.model) & (v.segment == d.segment) & (v.version == d.champion)
    with stores.ledger.read() as db:
        declared = declared_models(db)[model]
        rows = db.execute(
            select(d.segment, v.version, v.package).join(model_versions, same).where(d.model == model)
        ).all()
    versions: dict[Segment, Version] = {
        tuple(row.segment.split(",")) if row.segment else (): Version(
            row.version, Package.from_json(row.package)
        )
        for row in rows
    }
    scoring = Scoring(declared, bool(declared.per), versions)
    # As it travels to a worker.
    scoring = Scoring.from_json(orjson.loads(to_json(scoring.to_json())))
    return Scorer(scoring, lambda package: load(package, stores.artifacts))


def flights(rows: int, seed: int) -> pl.DataFrame:
    """Some as the models know them; some without a value, with one beyond all measure, of another segment."""
    rng = np.random.default_rng(seed)
    distance = rng.uniform(100, 3000, rows)
    distance[rng.random(rows) < 0.05] = np.inf
    distance[rng.random(rows) < 0.05] = 1e39
    return pl.DataFrame(
        {
            "carrier": rng.choice(np.array(["UA", "AA", "ZZ", None], dtype=object), rows).tolist(),
            "origin": rng.choice(np.array(["EWR", "JFK"], dtype=object), rows).tolist(),
            "distance": pl.Series(distance).set(pl.Series(rng.random(rows) < 0.05), None),
            "wind": pl.Series(rng.gamma(2, 8, rows)).set(pl.Series(rng.random(rows) < 0.3), None),
            "plane": rng.choice(np.array(["B737", "A320", "unseen", "", None], dtype=object), rows).tolist(),
            "flight": [f"f{n}" for n in range(rows)],
            "departs": [datetime(2026, 1, 1, tzinfo=UTC)] * rows,
        },
        schema_overrides={"carrier": pl.String, "origin": pl.String, "plane": pl.String},
    )


def asked(served: ServeStation, model: str, row: dict[str, Any]) -> dict[str, Any] | None:
    """What the server says of one row; nothing where it refuses it."""
    try:
        (told,) = served.predict(model, [row])["predictions"]
    except ModelworksError:
        return None
    return told  # type: ignore[no-any-return]


@pytest.mark.parametrize("seed", range(3))
def test_every_row_as_the_server_says(stores: Stores, served: ServeStation, seed: int) -> None:
    rows = flights(400, seed)
    told = scorer(stores, "delay").answer(rows)
    refused = 0
    for row, batch in zip(rows.to_dicts(), told.to_dicts(), strict=True):
        # JSON has no infinity: it is a number too large.
        online = asked(served, "delay", row if row["distance"] != np.inf else {**row, "distance": 1e300})
        if online is None:
            refused += 1
            assert batch["error"], row
            assert [batch[name] for name in ("segment", "version", "output")] == [None, None, None]
            continue
        assert batch["error"] is None, row
        assert (batch["segment"], batch["version"]) == (online["segment"], online["version"])
        assert batch["output"] == pytest.approx(online["output"], abs=1e-6)
    assert 60 < refused < 350


def test_reasons_name_the_column(stores: Stores) -> None:
    row = {**world.ROW, "carrier": "UA"}
    frame = pl.DataFrame(
        [row, {**row, "distance": None}, {**row, "distance": float("inf")}, {**row, "carrier": None}]
    )
    errors = scorer(stores, "delay").answer(frame)["error"]
    assert errors.to_list() == [
        None,
        "column 'distance' has no value, and may not be missing",
        "column 'distance' cannot be accepted: it is no number that a model can hold",
        "column 'carrier' has no value, and may not be missing",
    ]


def test_labels_come_with_their_probabilities(stores: Stores, served: ServeStation) -> None:
    rows = flights(60, 7).with_columns(distance=pl.lit(700.0), plane=pl.lit("B737"))
    told = scorer(stores, "kind").answer(rows)
    for row, batch in zip(rows.to_dicts(), told.to_dicts(), strict=True):
        online = asked(served, "kind", row)
        assert online is not None
        assert batch["output"] == online["output"]["label"]
        for label, value in online["output"]["probabilities"].items():
            assert batch[f"probability_{label}"] == pytest.approx(value, abs=1e-6)


def test_regressions(stores: Stores, served: ServeStation) -> None:
    rows = pl.DataFrame(np.random.default_rng(3).normal(size=(50, 10)), schema=[f"x{n}" for n in range(10)])
    told = scorer(stores, "price").answer(rows)
    online = served.predict("price", rows.to_dicts())["predictions"]
    assert told["output"].to_list() == pytest.approx([one["output"] for one in online], abs=1e-5)


def test_text_is_read_as_numbers_where_it_is_one(stores: Stores) -> None:
    """A CSV has nothing but text."""
    given = flights(50, 1).with_columns(
        pl.col("distance").fill_null(700.0).clip(0, 3000), plane=pl.lit("B737")
    )
    text = given.with_columns(pl.col("distance", "wind").cast(pl.String))
    assert scorer(stores, "delay").answer(text).equals(scorer(stores, "delay").answer(given))
    odd = text.with_columns(distance=pl.lit("far"), carrier=pl.lit("UA"))
    assert set(scorer(stores, "delay").answer(odd)["error"]) == {
        "column 'distance' cannot be accepted: expected numbers"
    }


def test_what_is_wrong_with_all_rows_is_said_at_once(stores: Stores) -> None:
    rows = flights(10, 1)
    with pytest.raises(Invalid, match="no column 'wind'"):
        scorer(stores, "delay").answer(rows.drop("wind"))
    with pytest.raises(Invalid, match="column 'wind' holds Boolean"):
        scorer(stores, "delay").answer(rows.with_columns(wind=pl.lit(True)))


class _Fussy:
    """A model that fails on some rows, and has no number for others."""

    def predict(self, batch: Any) -> Any:
        if (batch.numbers[:, 0] > 2).any():
            raise ValueError("too far")
        answers = np.where(batch.numbers[:, :1] < -2, np.nan, batch.numbers[:, :1])
        return np.hstack([1 - answers, answers])


def test_a_row_that_a_model_fails_on_spoils_no_other(stores: Stores) -> None:
    made = scorer(stores, "score")
    made.load = lambda _package: _Fussy()
    rows = pl.DataFrame({f"x{n}": np.linspace(-3, 3, 61) for n in range(10)})
    told = made.answer(rows)
    far, none = rows["x0"].cast(pl.Float32) > 2, rows["x0"].cast(pl.Float32) < -2
    assert told.filter(far)["error"].unique().to_list() == ["score@1 failed on this row: ValueError: too far"]
    assert told.filter(none)["error"].unique().to_list() == ["score@1 gives no finite number for this row"]
    good = told.filter(~far & ~none)
    assert good["error"].null_count() == len(good) == 41
    assert good["output"].to_list() == pytest.approx(rows.filter(~far & ~none)["x0"].to_list())


def test_no_rows_have_no_answers(stores: Stores) -> None:
    told = scorer(stores, "delay").answer(flights(0, 1))
    assert told.columns == ["segment", "version", "output", "error", "flags"]
    assert len(told) == 0
