"""Stream detectors: equal to River's on the same values, and right about streams whose drift is known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("river")

from river import drift, linear_model, preprocessing
from river.datasets import synth
from river.drift import binary

from modelworks.monitor.detectors import DETECTORS
from modelworks.monitor.detectors.port import Detector

Doubles = npt.NDArray[np.float64]
RIVER = {
    "adwin": lambda: drift.ADWIN(delta=0.002),
    "ddm": lambda: binary.DDM(warm_start=200, drift_threshold=4.0),
    "page_hinkley": lambda: drift.PageHinkley(threshold=50.0, mode="up"),
}


@pytest.fixture(params=list(DETECTORS))
def detector(request: pytest.FixtureRequest) -> Detector:
    return DETECTORS[str(request.param)]


def steps(seed: int = 0) -> Doubles:
    """Losses that rise from 0.3 to 1.2 at the 1,000th row and fall to 0.3 at the 2,000th."""
    random = np.random.default_rng(seed)
    level = np.repeat([0.3, 1.2, 0.3], 1000)
    return random.exponential(level)


# -- the contract ----------------------------------------------------------------------------------------


def test_it_tells_what_river_tells(detector: Detector) -> None:
    for seed in range(5):
        values = detector.values(steps(seed), "log_loss")
        assert values is not None
        river, expected, level = RIVER[detector.name](), [], 0.0
        for place, value in enumerate(values):
            river.update(bool(value) if detector.name == "ddm" else value)
            if river.drift_detected and getattr(river, "estimation", np.inf) > level:
                expected.append(place)
            level = getattr(river, "estimation", 0.0)
        assert detector.rises(values, detector.usual) == expected
        assert any(1000 <= place < 1300 for place in expected)
        assert not any(place < 1000 for place in expected)


def test_it_is_pure_and_what_came_before_does_not_change(detector: Detector) -> None:
    values = detector.values(steps(), "log_loss")
    assert values is not None
    before = values.copy()
    told = detector.rises(values, detector.usual)
    assert told == detector.rises(values, detector.usual)
    assert (values == before).all()
    assert detector.rises(values[:1500], detector.usual) == [place for place in told if place < 1500]
    assert detector.rises(values[:0], detector.usual) == []


def test_losses_that_stay_as_they_are_give_no_reason(detector: Detector) -> None:
    random = np.random.default_rng(3)
    values = detector.values(random.exponential(0.3, 3000), "log_loss")
    assert values is not None
    assert detector.rises(values, detector.usual) == []


def test_only_losses_that_say_right_or_wrong_are_counted_as_errors() -> None:
    assert DETECTORS["ddm"].values(np.array([0.1, 4.0]), "squared_error") is None
    values = DETECTORS["ddm"].values(np.array([0.1, 0.69, 0.70, 4.0]), "log_loss")
    assert values is not None
    assert values.tolist() == [0, 0, 1, 1]


# -- streams of River's whose drift is known --------------------------------------------------------------

ABRUPT = {
    "SEA": lambda: (synth.SEA(variant=2, seed=1), synth.SEA(variant=3, seed=1)),
    "Agrawal": lambda: (synth.Agrawal(0, seed=1), synth.Agrawal(2, seed=1)),
    "STAGGER": lambda: (synth.STAGGER(0, seed=1), synth.STAGGER(2, seed=1)),
}
LEARNED, STABLE, AFTER = 1000, 1500, 1500


def classified(name: str) -> Iterator[float]:
    """Losses of a tree that has learned the first thousand rows, and no more; what is right changes after 1,500."""
    from river import tree

    first, second = ABRUPT[name]()
    model = tree.HoeffdingTreeClassifier(grace_period=50)
    rows = [*first.take(LEARNED + STABLE), *second.take(AFTER)]
    for place, (x, y) in enumerate(rows):
        if place < LEARNED:
            model.learn_one(x, y)
        else:
            yield -np.log(np.clip(model.predict_proba_one(x).get(y, 0.0), 0.01, 1.0))


@pytest.mark.parametrize("name", list(ABRUPT))
def test_drift_of_a_known_stream_is_found_after_it_begins_and_not_before(
    name: str, detector: Detector
) -> None:
    values = detector.values(np.array(list(classified(name))), "log_loss")
    assert values is not None
    found = detector.rises(values, detector.usual)
    assert found
    assert STABLE <= found[0] < STABLE + 1000


@pytest.mark.parametrize("name", ["adwin", "page_hinkley"])
def test_drift_of_a_regression_is_found(name: str) -> None:
    stream = synth.FriedmanDrift("gsg", position=(2500, 4000), transition_window=100, seed=1)
    scaler, line = preprocessing.StandardScaler(), linear_model.BayesianLinearRegression()
    losses = []
    for place, (x, y) in enumerate(stream.take(5000)):
        if place < 1000:
            scaler.learn_one(x)
            line.learn_one(scaler.transform_one(x), y)
        else:
            losses.append((y - line.predict_one(scaler.transform_one(x))) ** 2)
    # Page-Hinkley's threshold has the unit of the loss. A line hardly follows this target, so its loss grows by a
    # tenth in all: it is seen late.
    values = np.array(losses) / np.mean(losses[:1000])
    found = DETECTORS[name].rises(values, DETECTORS[name].usual)
    assert found
    assert found[0] >= 1500
