"""The digests of code and environment change when, and only when, what they stand for changes."""

import platform
import sys
from hashlib import sha256
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from modelworks.models.definition import Definition
from modelworks.track import lock
from modelworks.track.lock import environment
from modelworks.train.environment import code_digest, code_document

SOURCE = """
from functools import partial

DEPTH = 3
NAMES = {"b", "a"}

class Scaler:
    factor = 2
    def scale(self, x):
        return x * HALF

HALF = 0.5

def helper(x):
    return Scaler().scale(x) + DEPTH

def marked(function):
    return function

@marked
def fit(X, y, params):
    # a comment
    return [helper(x) for x in X if x in NAMES]

def unused(x):
    return x
"""


def digest(folder: Path, source: str = SOURCE, **changes: Any) -> str:
    path = folder / f"factory_{abs(hash(source))}.py"
    path.write_text(source)
    spec = spec_from_file_location("some_project.factory", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    given = {"name": "m", "dataset": "d", "target": "y", "features": ("a",), "fit": module.fit}
    return code_digest(Definition(**{**given, **changes}))


def test_what_shapes_the_model_changes_the_digest(tmp_path: Path) -> None:
    first = digest(tmp_path)
    assert digest(tmp_path, SOURCE.replace("helper(x) for", "2 * helper(x) for")) != first
    assert digest(tmp_path, SOURCE.replace("DEPTH = 3", "DEPTH = 4")) != first
    assert digest(tmp_path, SOURCE.replace("+ DEPTH", "- DEPTH")) != first
    assert digest(tmp_path, SOURCE.replace("HALF = 0.5", "HALF = 0.6")) != first
    assert digest(tmp_path, SOURCE.replace("factor = 2", "factor = 3")) != first
    assert digest(tmp_path, holdout=0.3) != first
    assert digest(tmp_path, params={"C": 1.0}) != first


def test_what_does_not_shape_the_model_leaves_the_digest_alone(tmp_path: Path) -> None:
    first = digest(tmp_path)
    assert digest(tmp_path) == first
    assert digest(tmp_path, SOURCE.replace("# a comment", "# another")) == first
    assert digest(tmp_path, SOURCE.replace("@marked\n", "")) == first
    assert digest(tmp_path, SOURCE.replace("    return x\n", "    return -x\n")) == first
    assert digest(tmp_path, SOURCE.replace('{"b", "a"}', '{"a", "b"}')) == first
    assert digest(tmp_path, min_rows=7, metrics=("log_loss",)) == first


def test_a_function_without_source_has_a_digest() -> None:
    scope: dict[str, Any] = {}
    exec("def fit(X, y, params):\n    return lambda x: x + 1", scope)
    other: dict[str, Any] = {}
    exec("def fit(X, y, params):\n    return lambda x: x + 2", other)
    first, second = (Definition("m", "d", "y", ("a",), space["fit"]) for space in (scope, other))
    assert code_digest(first) == code_digest(first) != code_digest(second)
    assert b"no source" in code_document(first)


def test_the_environment_is_what_is_asked_for_and_all_that_it_needs() -> None:
    digest, content = environment({"scikit-learn"})
    assert sha256(content).hexdigest() == digest
    told = lock.read(content)
    assert told["python"] == platform.python_version()
    found = told["packages"]
    assert found["scikit-learn"]["version"] == version("scikit-learn")
    assert {"joblib", "scipy", "polars", "modelworks"} <= set(found)  # of its own, and what runs it
    assert "pytest" not in found
    assert set(found) < set(lock.read(environment()[1])["packages"])
    assert all("files" in one for one in found.values())


def test_modules_come_from_distributions() -> None:
    assert lock.distributed({"sklearn", "yaml", "json", "no_such_module"}) == (
        {"scikit-learn", "pyyaml"},
        {"no_such_module"},
    )


def test_differences_are_named() -> None:
    _, content = environment({"numpy"})
    then, now = lock.read(content), lock.read(content)
    assert lock.differences(then, now) == []
    now["python"] = "3.0.0"
    now["packages"]["numpy"] |= {"version": "0.1"}
    now["packages"]["scipy"] |= {"files": "other"}
    del now["packages"]["polars"]
    told = "; ".join(lock.differences(then, now))
    for part in ("is 3.0.0", "is 0.1", "has other files", "is not there"):
        assert part in told
