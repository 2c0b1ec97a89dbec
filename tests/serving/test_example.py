"""The example that the documentation shows of a model is answered as it is, of the form it says."""

from __future__ import annotations

import pytest
import serve_world as world

from modelworks.serving.example import example
from modelworks.serving.station import ServeStation


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> ServeStation:
    station = ServeStation(world.make_world(tmp_path_factory.mktemp("example")))
    station.refresh()
    return station


@pytest.mark.parametrize("model", ["delay", "score", "price", "kind"])
def test_it_works_as_it_is(served: ServeStation, model: str) -> None:
    request, answer = example(served.plane.fleet.snapshot.models[model])
    said = served.predict(model, request["rows"])
    (expected,), (got,) = answer["predictions"], said["predictions"]
    assert (got["segment"], got["version"]) == (expected["segment"], expected["version"])
    assert type(got["output"]) is type(expected["output"])
    if model == "kind":
        assert got["output"]["probabilities"].keys() == expected["output"]["probabilities"].keys()


def test_it_goes_to_a_segment_that_is_live(served: ServeStation) -> None:
    request, answer = example(served.plane.fleet.snapshot.models["delay"])
    assert answer["predictions"][0]["segment"] == "UA,EWR"
    assert request["rows"][0].keys() == set(world.ROW)
