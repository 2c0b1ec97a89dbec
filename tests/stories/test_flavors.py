"""Models of several libraries on one belt: trained, brought out, asked, watched; answers that are no numbers too."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
import shop_world as world

from modelworks.core.clock import FrozenClock
from modelworks.core.plain import plain
from modelworks.factory import Factory

DAYS = 30
MODELS = """

@mw.model(dataset=orders, target="returned", features=["price", "weight", "size"], per=["region"],
          metrics=["log_loss"], gate=[mw.Compiled()])
def trees(X, y, params):
    import lightgbm

    return lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(X.astype({"size": "category"}), y)


@mw.model(dataset=orders, target="returned", features=["price", "weight", "size"], metrics=["log_loss"],
          gate=[mw.Compiled()])
def steep(X, y, params):
    import xgboost

    return xgboost.XGBClassifier(n_estimators=20, enable_categorical=True).fit(X.astype({"size": "category"}), y)


@mw.model(dataset=orders, target="returned", features=["price", "weight"], metrics=["log_loss"])
def drops(X, y, params):
    from river import linear_model, preprocessing

    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for row, target in zip(X.fillna(0).to_dict("records"), y.tolist()):
        model.learn_one(row, target)
    return model


@mw.model(dataset=orders, target="returned", features=["price", "size"])
def tags(X, y, params):
    dear = float(X["price"].quantile(0.75))

    def found(frame):
        return [[tag for tag, on in (("dear", price > dear), (size, size)) if on]
                for price, size in zip(frame["price"], frame["size"])]

    return found
"""
ROW: dict[str, Any] = {
    "order_id": "x", "ordered": "2024-01-31T10:00:00Z", "region": "north", "price": 900.0, "weight": 2.0, "size": "M",
}  # fmt: skip


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    root = world.make_project(tmp_path_factory.mktemp("shop"), DAYS)
    file = root / "factory.py"
    file.write_text(file.read_text() + MODELS)
    with Factory(root, clock=FrozenClock(world.START + timedelta(days=DAYS))) as one:
        one.ingest()
        yield one


@pytest.mark.parametrize(
    ("model", "flavor"), [("trees", "lightgbm"), ("steep", "xgboost"), ("drops", "river")]
)
def test_a_model_of_another_library_goes_the_same_way(factory: Factory, model: str, flavor: str) -> None:
    (report,) = plain(factory.train(model))
    assert report["promoted"] == report["trained"] > 0, report
    assert report["compiled"] == (0 if flavor == "river" else report["trained"])
    assert factory.stations.registry.versions(model)[0].package.flavor == flavor
    (answer,) = factory.predict(model, [{**ROW, "price": 40.0}])["predictions"]
    assert 0 < answer["output"] < 1


def test_an_answer_may_be_plain_data(factory: Factory) -> None:
    (report,) = plain(factory.train("tags"))
    assert report["promoted"] == 1, report
    rows = [ROW, {**ROW, "price": 1.0, "size": "L"}]
    answers = factory.predict("tags", rows)["predictions"]
    assert [one["output"] for one in answers] == [["dear", "M"], ["L"]]
    assert plain(factory.why(answers[0]["id"]))["prediction"]["outputs"] == '["dear","M"]'
    factory.drain()
    kept = pl.DataFrame(plain(factory.predictions("tags")))
    assert sorted(kept["output"].to_list()) == [1.0, 2.0]  # by their number they are watched
    factory.observe("tags")
    assert plain(factory.monitor("tags"))


def test_plain_data_over_the_inference_protocol_is_json_text(factory: Factory) -> None:
    factory.train("tags")
    plane = factory.stations.serve.plane
    plane.refresh()
    for prices, wanted in (([900.0], [["dear", "M"]]), ([900.0, 1.0], [["dear", "M"], ["M"]])):
        size = len(prices)
        inputs = [
            {"name": "price", "shape": [size], "datatype": "FP32", "data": prices},
            {"name": "size", "shape": [size], "datatype": "BYTES", "data": ["M"] * size},
        ]
        (told,) = plane.results([(b"/v2/models/tags/infer", json.dumps({"inputs": inputs}).encode())])
        assert isinstance(told, bytes), told
        (output,) = json.loads(told)["outputs"]
        assert (output["name"], output["datatype"], output["shape"]) == ("value", "BYTES", [size])
        assert [json.loads(text) for text in output["data"]] == wanted
