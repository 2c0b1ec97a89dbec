"""A model that leaves the factory: its image, built without Docker, answers; its manifests are what clusters take."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import kubernetes_validate
import pytest
import yaml

from modelworks.api.guard import Guard
from modelworks.api.probes import predictions_only
from modelworks.core.errors import Conflict, Invalid, NotFound
from modelworks.core.plain import plain
from modelworks.factory import Factory
from modelworks.pipelines.export import Wanted

KSERVE = json.loads(Path(__file__).with_name("kserve.json").read_text())
CODE = """
import modelworks as mw

orders = mw.Dataset("orders", source=mw.Files("data/*.csv"), time="at", key="id", contract={
    "id": str, "at": mw.Time(), "shop": str, "items": mw.Number(min=0), "back": int})


@mw.model(dataset=orders, target="back", features=["items"], per=["shop"], min_rows=50)
def returns(X, y, params):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(X, y)


@mw.model(dataset=orders, target="back", features=["items", "shop"], min_rows=50)
def rule(X, y, params):
    limit = float(X["items"].mean())
    return lambda rows: (rows["items"] > limit).to_numpy().astype(float)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of three shops, two of them live by themselves, and one that cannot be compiled."""
    root = tmp_path_factory.mktemp("export")
    (root / "data").mkdir()
    (root / "factory.py").write_text(CODE)
    lines = [
        f"{shop}{n},2026-01-{1 + n // 40:02d}T00:00:00Z,{shop},{n % 17},{int(n % 17 > 8 + (n % 5))}"
        for n in range(600)
        for shop in ("north", "south")
    ]
    (root / "data/orders.csv").write_text("\n".join(["id,at,shop,items,back", *lines, ""]))
    with Factory(root) as factory:
        factory.ingest()
        factory.train()
        assert {one.model for one in factory.stations.deploy.state()} == {"returns", "rule"}
    return root


class Built:
    """A Dockerfile carried out in a folder: an environment of its own for `pip`, files copied, paths moved."""

    def __init__(self, context: Path, root: Path, venv: Path) -> None:
        self.root, self.python = root, venv / "bin/python"
        self.env: dict[str, str] = {}
        self.command: list[str] = []
        self.health: list[str] = []
        text = (context / "Dockerfile").read_text().replace("\\\n", " ")
        for line in (line for line in text.splitlines() if line and not line.startswith("#")):
            word, rest = line.split(maxsplit=1)
            self.step(word, rest, context)

    def step(self, word: str, rest: str, context: Path) -> None:
        match word:
            case "ENV":
                self.env.update(pair.split("=", 1) for pair in shlex.split(self.moved(rest)))
            case "COPY":
                source, to = (part for part in rest.split() if not part.startswith("--"))
                place = self.root / to.lstrip("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                copy: Any = shutil.copytree if (context / source).is_dir() else shutil.copy
                copy(context / source, place)
            case "RUN" if rest.startswith("pip install"):
                uv = Path(sys.executable).with_name("uv")
                if not self.python.exists():
                    subprocess.run(
                        [uv, "venv", "-q", "--python", sys.executable, self.python.parents[1]], check=True
                    )
                options = shlex.split(self.moved(rest.removeprefix("pip install")))
                subprocess.run([uv, "pip", "install", "-q", "--python", self.python, *options], check=True)
            case "RUN" if rest.startswith("python "):
                subprocess.run([self.python, *shlex.split(self.moved(rest))[1:]], check=True)
            case "CMD":
                self.command = [str(self.python), *json.loads(self.moved(rest))[1:]]
            case "HEALTHCHECK":
                self.health = [str(self.python), *json.loads(rest.partition("CMD")[2])[1:]]
            case "RUN":
                assert rest.startswith("useradd"), rest
            case _:
                assert word in ("FROM", "USER", "WORKDIR", "EXPOSE", "STOPSIGNAL"), word

    def moved(self, text: str) -> str:
        return text.replace("/srv/", f"{self.root}/srv/")

    def started(self) -> subprocess.Popen[bytes]:
        clean = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return subprocess.Popen(self.command, cwd=self.root / "srv/model", env={**clean, **self.env})

    def healthy(self) -> bool:
        return subprocess.run(self.health, capture_output=True, check=False).returncode == 0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running(built: Built) -> Iterator[subprocess.Popen[bytes]]:
    server = built.started()
    try:
        until = time.monotonic() + 120
        while not built.healthy():
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < until, "the image is not healthy"
        yield server
    finally:
        server.terminate()
        assert server.wait(30) in (0, -15)


def test_an_image_answers_as_the_factory_does(project: Path, tmp_path: Path) -> None:
    port = free_port()
    rows = [
        {"id": "x", "shop": shop, "items": items}
        for shop in ("north", "south", "east")
        for items in (0, 9, 16)
    ]
    with Factory(project) as factory:
        told = factory.export_docker("returns", tmp_path / "image", port)
        assert told.versions == {"": 1, "north": 1, "south": 1}
        here = plain(factory.predict("returns", rows))["predictions"]
    venv = tmp_path / "venv"
    built = Built(tmp_path / "image", tmp_path / "root", venv)
    shutil.rmtree(tmp_path / "image")  # it needs nothing of where it came from
    assert not list(venv.glob("lib/python*/site-packages/pytest"))
    url = f"http://127.0.0.1:{port}"
    with running(built) as server:
        there = httpx.post(f"{url}/predict/returns", json={"rows": rows}).json()["predictions"]
        assert [one["output"] for one in there] == [one["output"] for one in here]
        assert [one["segment"] for one in there] == ["north"] * 3 + ["south"] * 3 + [""] * 3
        assert httpx.get(f"{url}/v2/models/returns/ready").json()["ready"] is True
        assert 'model="returns"' in httpx.get(f"{url}/metrics").text
        assert httpx.post(f"{url}/outcomes", json={"outcomes": [{"key": "x", "value": 1}]}).json() == {
            "accepted": 1
        }
        for path in ("/", "/docs", "/api/status", "/openapi.json", "/mlflow/"):
            assert httpx.get(url + path).status_code == 404, path
        assert httpx.post(f"{url}/api/deploy", json={"ref": "returns@1"}).status_code == 404
        assert server.poll() is None


def test_what_cannot_be_compiled_goes_as_it_was_made(project: Path, tmp_path: Path) -> None:
    with Factory(project) as factory:
        factory.export_docker("rule", tmp_path / "rule")
        factory.export_docker("returns", tmp_path / "image")
        made = factory.stations.registry.champions("rule")[()].package
        then = json.loads(factory.stores.artifacts.get(made.environment))["packages"]
    with Factory(tmp_path / "rule/model") as alone:
        answer = plain(alone.predict("rule", [{"shop": "north", "items": 16}]))["predictions"][0]
        assert (answer["output"], answer["version"]) == (1.0, 1)
    pinned = (tmp_path / "rule/requirements.txt").read_text().split()
    assert {f"{name}=={one['version']}" for name, one in then.items() if name != "modelworks"} <= set(pinned)
    assert not any(line.startswith("pytest") for line in pinned)


def test_a_token_is_asked_for_where_there_is_one(project: Path) -> None:
    with Factory(project) as factory:
        plane, ledger = factory.stations.serve.plane, factory.stores.ledger
        plane.refresh()
        app = predictions_only(plane, Guard(ledger, "localhost", "secret"))

        async def ask(path: str, **headers: str) -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
                return await client.get(path, headers=headers)

        assert asyncio.run(ask("/metrics")).status_code == 401
        assert asyncio.run(ask("/metrics", authorization="Bearer secret")).status_code == 200
        assert asyncio.run(ask("/readyz")).json() == {"status": "ready"}
        plane.fleet.failures = {("returns", ""): "version 1: gone"}
        assert asyncio.run(ask("/readyz")).status_code == 503
        plane.close()


def test_one_segment_s_version_answers_for_it_alone(project: Path, tmp_path: Path) -> None:
    with Factory(project) as factory:
        factory.export_docker("returns[north]@1", tmp_path / "image")
    with Factory(tmp_path / "image/model") as alone:
        answer = plain(alone.predict("returns", [{"shop": "north", "items": 3}]))["predictions"][0]
        assert (answer["segment"], answer["version"]) == ("north", 1)
        with pytest.raises(NotFound, match="south"):
            alone.predict("returns", [{"shop": "south", "items": 3}])


def test_no_pickle_goes_where_a_graph_answers(project: Path, tmp_path: Path) -> None:
    with Factory(project) as factory:
        package = factory.stations.registry.champions("returns")[()].package
        factory.export_docker("returns@1", tmp_path / "image")
    names = {path.parent.name + path.name for path in tmp_path.glob("image/model/.modelworks/artifacts/*/*")}
    assert package.compiled in names
    assert package.native not in names


def test_what_stands_there_is_not_lost(project: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("all of it")
    with Factory(project) as factory:
        with pytest.raises(Conflict, match="no export"):
            factory.export_docker("returns", tmp_path / "mine")
        factory.export_docker("returns", tmp_path / "image")
        factory.export_docker("rule", tmp_path / "image")
        with pytest.raises(NotFound, match="gone"):
            factory.export_docker("gone@1", tmp_path / "image")
    assert json.loads((tmp_path / "image/export.json").read_text())["model"] == "rule"
    assert (tmp_path / "mine/thesis.txt").exists()


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("version", ["1.27", "1.31", "1.34"])
def test_manifests_are_what_kubernetes_takes(
    project: Path, tmp_path: Path, replicas: int, version: str
) -> None:
    wanted = Wanted("registry.example.com/returns:7", replicas, 12, "2", "3Gi", "models")
    with Factory(project) as factory:
        factory.export_kubernetes("returns", tmp_path / "out", wanted, 9000)
    documents = list(yaml.safe_load_all((tmp_path / "out/kubernetes.yaml").read_text()))
    kinds = ["Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"]
    assert [one["kind"] for one in documents] == kinds[: 3 + (replicas > 1)]
    for one in documents:
        kubernetes_validate.validate(one, version, strict=True)
        assert one["metadata"]["namespace"] == "models"
    deployment, service, scaling, *_ = documents
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert container["image"] == wanted.image
    assert {
        container[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "readiness", "liveness")
    } == {9000}
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert (scaling["spec"]["minReplicas"], scaling["spec"]["maxReplicas"]) == (replicas, 12)
    dockerfile = (tmp_path / "out/image/Dockerfile").read_text()
    assert f"USER {pod['spec']['securityContext']['runAsUser']}\n" in dockerfile
    assert "EXPOSE 9000\n" in dockerfile
    # The manifests would be refused if they were wrong: the schemas are closed.
    container["imagePullPolicies"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, version, strict=True)


def test_kserve_takes_its_manifest(project: Path, tmp_path: Path) -> None:
    with Factory(project) as factory:
        factory.export_kubernetes("returns", tmp_path / "out")
    service = yaml.safe_load((tmp_path / "out/kserve.yaml").read_text())
    jsonschema.validate(service, KSERVE)
    service["spec"]["predictor"]["minReplica"] = 3
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(service, KSERVE)


def test_a_factory_is_never_open_to_everybody(project: Path) -> None:
    command = [sys.executable, "-m", "modelworks.cli", "--project", str(project), "up", "--open"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "never open" in done.stderr


def test_replicas_that_cannot_be() -> None:
    with pytest.raises(Invalid, match="5 to 2"):
        Wanted(replicas=5, most=2)
