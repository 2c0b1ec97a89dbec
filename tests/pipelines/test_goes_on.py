"""Models that go on from their champion: on which rows, from what, and that nobody forgets it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import SGDClassifier

from modelworks.core.errors import Invalid
from modelworks.core.ref import Ref
from modelworks.factory import Factory
from modelworks.models.flavors import FLAVORS
from modelworks.pipelines.project import model
from modelworks.train import trainer

HEAD = """
import modelworks as mw

rows = mw.Dataset("rows", source=mw.Files("data/*.csv"), key="id", time="at",
                  contract={"id": str, "at": mw.Time(), "x": mw.Number(), "y": mw.Number(integer=True)})

@mw.model(dataset=rows, target="y", features=["x"], metrics=["log_loss"], learn="%s")
"""
SGD = (
    HEAD
    + """
def guess(X, y, params, previous):
    from sklearn.linear_model import SGDClassifier
    started = previous or SGDClassifier(loss="log_loss", random_state=0)
    return started.partial_fit(X, y, classes=[0, 1])
"""
)
RIVER = (
    HEAD
    + """
def guess(X, y, params, previous):
    from river.linear_model import LogisticRegression
    model = previous or LogisticRegression()
    model.seen = getattr(model, "seen", []) + X["x"].tolist()
    for row, target in zip(X.to_dict("records"), y.tolist()):
        model.learn_one(row, target)
    return model
"""
)
WARM = (
    HEAD
    + """
def guess(X, y, params, previous):
    from sklearn.linear_model import LogisticRegression
    model = LogisticRegression(warm_start=True)
    model.began_at = None if previous is None else previous.coef_.tolist()
    if previous is not None:
        model.coef_, model.intercept_, model.classes_ = previous.coef_, previous.intercept_, previous.classes_
    return model.fit(X, y)
"""
)


@pytest.fixture(scope="module", autouse=True)
def _workers() -> Iterator[None]:
    yield
    trainer.close()


def frame(first: int, number: int, day: int) -> pd.DataFrame:
    """Rows in the order of time, an hour apart."""
    random = np.random.default_rng(first)
    x = random.normal(size=number).astype(np.float32).astype(float)
    at = pd.date_range(f"2026-01-{day:02d}", periods=number, freq="h", tz="UTC")
    return pd.DataFrame(
        {
            "id": [f"r{first + n}" for n in range(number)],
            "at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "x": x,
            "y": (x + random.normal(size=number) > 0).astype(int),
        }
    )


def opened(folder: Path, code: str, learn: str = "incremental") -> Factory:
    (folder / "data").mkdir(parents=True)
    (folder / "factory.py").write_text(code % learn)
    return Factory(folder)


def add(factory: Factory, name: str, rows: pd.DataFrame) -> None:
    rows.to_csv(factory.config.root / "data" / name, index=False)
    factory.ingest()


def native(factory: Factory, version: int) -> Any:
    package = factory.stations.registry.get(Ref("guess", at=version)).package
    return FLAVORS[package.flavor].load(factory.stores.artifacts.get(package.native))


def edges(factory: Factory, version: int) -> set[tuple[str, str]]:
    return {(edge.source, edge.relation) for edge in factory.lineage(f"guess@{version}")["edges"]}


def test_each_row_is_learned_once_also_one_that_comes_late(tmp_path: Path) -> None:
    first, late, second = frame(0, 100, 1), frame(500, 10, 2), frame(1000, 100, 10)
    late["at"] = late["at"].str.replace(":00:00Z", ":30:00Z")
    with opened(tmp_path, SGD) as factory:
        add(factory, "a.csv", first)
        factory.train("guess")
        add(factory, "b.csv", pd.concat([second, late]))
        (report,) = factory.train("guess")
        assert (report.trained, report.failures) == (1, {})
        # 80 of the first; then, of all 210 in the order of time, what is new among the first 168.
        expected = SGDClassifier(loss="log_loss", random_state=0)
        expected.partial_fit(first[["x"]][:80], first["y"][:80], classes=[0, 1])
        every = pd.concat([first, late, second]).sort_values("at", kind="stable")[:168]
        fresh = every[~every["id"].isin(first["id"][:80])]
        expected.partial_fit(fresh[["x"]], fresh["y"])
        made = native(factory, 2)
        assert made.coef_[0].tolist() == pytest.approx(expected.coef_[0].tolist(), rel=1e-12)
        assert made.t_ == expected.t_ == 1 + 80 + len(fresh)
        assert ("model:guess@1", "continued") in edges(factory, 2)
        told = factory.model("guess@2")["version"]
        assert told["rows_filter"]["time >="] == factory.model("guess@1")["version"]["rows_filter"]["time >="]
        assert factory.run(told["run"])["tags"] == {"continues": "guess@1"}
        assert factory.runs("tags.continues = 'guess@1'")[0]["id"] == told["run"]
        # Begun anew, it has seen all rows at once, and goes on from nothing.
        factory.train("guess", scratch=True)
        assert native(factory, 3).t_ == 1 + 168
        assert all(relation != "continued" for _, relation in edges(factory, 3))
        # Nothing new: it says so, and the champion stays.
        (report,) = factory.train("guess", force=True)
        assert "new since guess@3" in report.failures[""]
        assert factory.deployments()[0]["version"] == 3


@pytest.mark.parametrize(("code", "learn"), [(SGD, "incremental"), (WARM, "warm")])
def test_what_went_on_is_made_again_from_where_it_went_on(tmp_path: Path, code: str, learn: str) -> None:
    with opened(tmp_path, code, learn) as factory:
        for name, rows in (("a.csv", frame(0, 100, 1)), ("b.csv", frame(1000, 100, 10))):
            add(factory, name, rows)
            factory.train("guess")
        again = factory.reproduce("guess@2", here=True)
        assert (again.verdict, again.rows) == ("equal", True), again


def test_what_goes_on_from_a_model_has_learned_what_that_had(tmp_path: Path) -> None:
    first = frame(0, 100, 1)
    with opened(tmp_path, SGD) as factory:
        add(factory, "a.csv", first)
        factory.train("guess")
        # The row is corrected: the second version's data no longer has it as it was.
        changed = first[3:4].assign(x=9.0)
        add(factory, "b.csv", pd.concat([changed, frame(1000, 60, 10)]))
        factory.train("guess")
        factory.train("guess", scratch=True)
        learned = factory.forget("rows", "r3").models
        assert learned == ["guess@1", "guess@2", "guess@3"]
    with opened(tmp_path / "other", SGD) as factory:
        add(factory, "a.csv", first)
        factory.train("guess")
        add(factory, "b.csv", frame(1000, 60, 10))
        factory.train("guess")
        factory.forget("rows", "r3")
        # A training after it goes on from what had learned the row, and a fresh one does not.
        add(factory, "c.csv", frame(2000, 60, 20))
        factory.train("guess")
        assert ("model:guess@2", "continued") in edges(factory, 3)
        factory.train("guess", scratch=True)
        assert all(relation != "continued" for _, relation in edges(factory, 4))


def test_river_goes_on_row_by_row(tmp_path: Path) -> None:
    pytest.importorskip("river")
    first, second = frame(0, 50, 1), frame(1000, 50, 10)
    with opened(tmp_path, RIVER) as factory:
        add(factory, "a.csv", first)
        factory.train("guess")
        add(factory, "b.csv", second)
        factory.train("guess")
        assert native(factory, 2).seen == pytest.approx([*first["x"], *second["x"][:30]])
        assert len(native(factory, 1).seen) == 40  # the one that was gone on from is as it was


def test_a_warm_start_sees_all_rows_and_where_the_champion_stands(tmp_path: Path) -> None:
    with opened(tmp_path, WARM, "warm") as factory:
        add(factory, "a.csv", frame(0, 100, 1))
        factory.train("guess")
        assert native(factory, 1).began_at is None
        add(factory, "b.csv", frame(1000, 100, 10))
        factory.train("guess")
        assert native(factory, 2).began_at == native(factory, 1).coef_.tolist()
        run = factory.runs("kind = 'training'")[0]
        assert run["status"] == "done"
        assert ("model:guess@1", "continued") in edges(factory, 2)
    # Another definition is another model: it begins anew.
    (tmp_path / "factory.py").write_text((WARM % "warm").replace("warm_start=True", "warm_start=True, C=0.5"))
    with Factory(tmp_path) as factory:
        factory.train("guess")
        assert native(factory, 3).began_at is None


def test_a_word_that_is_none_is_refused() -> None:
    from modelworks.data.dataset import Dataset

    rows = Dataset(
        "rows",
        source=None,
        key="id",
        time="at",
        contract={"id": str, "at": datetime, "x": float, "y": int},
    )  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="learns 'lazily'"):
        model(dataset=rows, target="y", features=["x"], learn="lazily", name="m")(lambda x, y, params: None)  # type: ignore[arg-type]
