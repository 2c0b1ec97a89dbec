"""MLflow's own client, unmodified, against a server of ours.

What is in `client` runs in `.venv-mlflow`, an environment that holds MLflow and what it needs, each at exactly the
version in `requirements.lock`: its needs and ours cannot be met in one environment, and a test of a client should be
what its users have. Each test there is one here.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests import elsewhere

from modelworks.cli.template import make
from modelworks.factory import Factory
from modelworks.sdk.process import Server, start

HERE = Path(__file__).parent
PYTHON = HERE.parents[2] / ".venv-mlflow" / "bin" / "python"
CLIENT = HERE / "client"
TESTS = elsewhere.names_of(CLIENT)
PINNED = re.search(r"^mlflow==(.*)$", (HERE / "requirements.lock").read_text(), re.MULTILINE)

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="MLflow is not here: 'make mlflow' makes its environment"
)


@pytest.fixture(scope="module")
def factory_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Server]]:
    """A server, with its worker, for the project of `modelworks init`, trained."""
    folder = tmp_path_factory.mktemp("project")
    make(folder)
    with Factory(folder) as factory:
        factory.ingest()
        factory.train()
    with start(folder, worker=True) as running:
        yield folder, running


@pytest.fixture(scope="module")
def outcomes(
    factory_server: tuple[Path, Server], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[str]]:
    """What became of the client's tests: name to failures."""
    report = tmp_path_factory.mktemp("report") / "report.xml"
    environment = {"MODELWORKS_URL": factory_server[1].url, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    return elsewhere.run(PYTHON, CLIENT, report, environment)


def test_the_version_is_the_pinned_one() -> None:
    asked = [PYTHON, "-c", "import importlib.metadata as m; print(m.version('mlflow'))"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    assert PINNED is not None
    assert said == PINNED[1], "run 'make mlflow'"


@pytest.mark.parametrize("name", TESTS)
def test_the_client(outcomes: dict[str, list[str]], name: str) -> None:
    assert name in outcomes, "it did not run"
    assert not outcomes[name], "\n".join(outcomes[name])


def test_what_was_logged_is_ours(outcomes: dict[str, list[str]], factory_server: tuple[Path, Server]) -> None:
    """The runs and models that the client's tests have left."""
    with Factory(factory_server[0]) as factory:
        (run,) = factory.runs("name = 'baseline' and params.depth = 6 and metrics.auc > 0.8")
        assert run["note"] == "the *first*"
        assert run["experiment"].startswith("experiment n")
        assert run["tags"]["team"] == "pricing"
        course = factory.course(run["id"], "loss")["loss"]
        assert [(point["step"], point["value"]) for point in course] == [(1, 0.5), (2, 0.25)]
        (old,) = factory.runs("name = 'old'")
        assert factory.run(old["id"])["points"] == {"loss": 900}
        assert any(row["name"] == run["experiment"] for row in factory.experiments())
        named = {row["name"]: row for row in factory.models()}
        assert len(named) > 10


def test_a_model_that_can_be_read_is_served(
    outcomes: dict[str, list[str]], factory_server: tuple[Path, Server], tmp_path: Path
) -> None:
    """Logged, registered and named champion by MLflow, asked through our own door."""
    folder, server = factory_server
    script = tmp_path / "log.py"
    script.write_text(_SERVED)
    done = subprocess.run(
        [PYTHON, "-W", "ignore", script, server.url], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = [float(value) for value in done.stdout.splitlines()[-1].split()]
    with Factory(folder) as factory:
        factory.read_arrivals()  # if the worker has not come to it yet
        shown = factory.model("readable@1")
        assert shown["version"]["served"] == "compiled"
        assert shown["version"]["metrics"] == {"auc": 0.9}
        assert factory.deployments("readable")[0]["version"] == 1
        kept = factory.model("pickle@1")
        assert kept["version"]["served"] == "kept"
        assert "reading a pickle runs whatever its maker put in" in kept["version"]["proof"].reason
        rows = [{"a": a, "b": b} for a, b in ((0.0, 1.0), (2.0, -1.0), (3.0, 3.0))]
        answered = [one["output"] for one in factory.predict("readable", rows)["predictions"]]
        assert answered == pytest.approx(expected, abs=1e-5)
        assert factory.trust_model("pickle@1")["deployed"], "it was named champion"
        answered = [one["output"] for one in factory.predict("pickle", rows)["predictions"]]
        assert answered == pytest.approx(expected, abs=1e-5)
    end = time.monotonic() + 20  # the server looks at the ledger twice a second
    while (answer := httpx.post(f"{server.url}/predict/readable", json={"rows": rows})).status_code != 200:
        assert time.monotonic() < end, answer.text
        time.sleep(0.05)
    assert [one["output"] for one in answer.json()["predictions"]] == pytest.approx(expected, abs=1e-5)


_SERVED = """
import sys, mlflow, pandas as pd
from sklearn.linear_model import LogisticRegression
mlflow.set_tracking_uri(f"{sys.argv[1]}/mlflow")
client = mlflow.MlflowClient()
X = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0] * 10, "b": [1.0, 0.0, -1.0, 2.0] * 10})
y = [0, 1, 1, 0] * 10
model = LogisticRegression().fit(X, y)
for name, form in (("readable", "skops"), ("pickle", "cloudpickle")):
    with mlflow.start_run():
        mlflow.log_metric("auc", 0.9)
        mlflow.sklearn.log_model(model, name="model", input_example=X, registered_model_name=name,
                                 serialization_format=form, pip_requirements=["scikit-learn"])
    client.set_registered_model_alias(name, "champion", 1)
print(*model.predict_proba(pd.DataFrame({"a": [0.0, 2.0, 3.0], "b": [1.0, -1.0, 3.0]}))[:, 1])
"""
