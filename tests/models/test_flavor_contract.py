"""What the port of flavors promises, of every flavor in the catalog."""

import json
import subprocess
import sys
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
from flavors_world import MAKE, Made, made

from modelworks.core.errors import Invalid
from modelworks.models.compile.session import CompiledPredictor
from modelworks.models.flavors import FLAVORS, flavor_of
from modelworks.models.layout import to_batch
from modelworks.models.package import Package
from modelworks.models.packaging import answered, load, pack, proven
from modelworks.models.signature import Signature
from modelworks.stores.artifacts import LocalArtifacts

CASES = [(flavor, name) for flavor in FLAVORS for name in MAKE.get(flavor, {})]
HEAVY = ("lightgbm", "river", "sklearn", "skops", "spacy", "torch", "xgboost")


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]} {case[1]}")
def case(request: Any) -> tuple[str, str, Made]:
    return (*request.param, made(*request.param))


def same(answers: Any, expected: Any, takes: Signature) -> bool:
    if takes.task == "other":
        return bool(answers[:, 0].tolist() == list(expected))
    wanted = np.asarray(expected, dtype=np.float64).reshape(answers.shape)
    return answers.dtype == np.float32 and np.allclose(answers, wanted, atol=1e-6, rtol=1e-6)


def test_every_flavor_of_the_catalog_is_held_to_it() -> None:
    assert set(MAKE) == set(FLAVORS)
    for name in FLAVORS:
        assert FLAVORS[name].name == name
        assert not FLAVORS[name].accepts(object())
        if FLAVORS[name].pickled:
            with pytest.raises(Invalid, match="cannot be stored"):
                FLAVORS[name].dump(Lock(), Signature((), "other"))


def test_the_flavor_and_the_task_are_found(case: tuple[str, str, Made]) -> None:
    flavor, name, one = case
    assert flavor_of(one.model).name == flavor
    task = one.takes.task
    assert name not in ("binary", "multiclass", "regression", "other") or task == name
    assert one.takes.classes == {"binary": (0, 1), "multiclass": (0, 1, 2)}.get(task, ())


def test_what_is_loaded_answers_as_the_library(case: tuple[str, str, Made]) -> None:
    flavor, _, one = case
    port = FLAVORS[flavor]
    batch = to_batch(one.frame, one.takes)
    expected = one.expected(one.frame)
    again = port.load(port.dump(one.model, one.takes))
    for model in (one.model, again):
        answers = port.predictor(model, one.takes).predict(batch)
        assert answers.shape == (len(one.frame), len(one.takes.classes) or 1)
        assert same(answers, expected, one.takes)
    one_row = port.predictor(again, one.takes).predict(batch.take(slice(0, 1)))
    assert same(one_row, list(expected)[:1], one.takes)


def test_it_compiles_or_says_why_not(case: tuple[str, str, Made]) -> None:
    flavor, _, one = case
    batch = to_batch(one.frame, one.takes)
    graph, proof = proven(one.model, one.takes, answered(one.model, one.takes, batch))
    assert (graph is not None) == one.compiles, proof.reason
    if graph is None:
        assert proof.reason
        with pytest.raises(Invalid, match="no ONNX form"):
            FLAVORS[flavor].compile(one.model, one.takes, template=True)
    else:
        assert proof.rows == len(one.frame) + 4 + min(len(one.frame), 32)
        assert np.allclose(CompiledPredictor(graph).predict(batch), one.expected(one.frame), atol=1e-5) or (
            one.takes.task == "regression"
        )


_FRESH = """
import json, pickle, sys
import numpy as np
from pathlib import Path
from threading import Lock
from modelworks.core.batch import Batch
from modelworks.models.flavors import FLAVORS
from modelworks.models.package import Package
from modelworks.models.packaging import load
from modelworks.stores.artifacts import LocalArtifacts

class Refused(pickle.Unpickler):
    def __init__(self, *_given, **_more):
        raise AssertionError("something was unpickled")

def refuse(*_given, **_more):
    raise AssertionError("something was unpickled")

def watch(event, _arguments):
    if event == "pickle.find_class":
        raise AssertionError("something was unpickled")

folder = Path(sys.argv[1])
given = json.loads((folder / "case.json").read_text())
package = Package.from_json(given["package"])
if not FLAVORS[package.flavor].pickled:
    pickle.load, pickle.loads, pickle.Unpickler = refuse, refuse, Refused
    sys.addaudithook(watch)
texts = np.array(given["texts"], dtype=object).reshape(given["rows"], -1)
batch = Batch(np.array(given["numbers"], np.float32).reshape(given["rows"], -1), texts)
answers = load(package, LocalArtifacts(folder)).predict(batch)
loaded = [name for name in given["heavy"] if name in sys.modules]
print(json.dumps({"answers": answers.tolist(), "loaded": loaded}))
"""


@pytest.mark.parametrize("flavor", list(FLAVORS))
def test_a_fresh_process_answers_alike_without_a_pickle_where_there_is_another_way(
    flavor: str, tmp_path: Path
) -> None:
    name = next(iter(MAKE[flavor]))
    one = made(flavor, name)
    artifacts = LocalArtifacts(tmp_path)
    package = pack(one.model, one.takes, one.frame, artifacts, code="", environment="", reference=None)
    assert package.flavor == flavor
    batch = to_batch(one.frame, one.takes)
    native = {**package.to_json(), "compiled": None}
    expected = load(Package.from_json(native), artifacts).predict(batch)
    case = {
        "package": native, "rows": len(batch), "numbers": batch.numbers.tolist(), "texts": batch.texts.tolist(),
        "heavy": HEAVY,
    }  # fmt: skip
    (tmp_path / "case.json").write_text(json.dumps(case))
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FRESH, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told["answers"] == expected.tolist()
    # LightGBM and River bring scikit-learn along by themselves, spaCy PyTorch.
    brought = {"pytorch": {"torch"}, "spacy": {"torch"}}.get(flavor, set())
    assert set(told["loaded"]) <= {flavor, "sklearn"} | brought


def test_recognising_a_model_imports_no_library() -> None:
    script = (
        "import sys\n"
        "from modelworks.models.flavors import flavor_of\n"
        "assert flavor_of(lambda frame: frame).name == 'python'\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
