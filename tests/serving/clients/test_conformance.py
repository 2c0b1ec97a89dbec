"""Clients of the Open Inference Protocol, unmodified, against a server of ours: Triton's and KServe's.

What is in `client` runs in `.venv-clients`, an environment that holds them, each at exactly the version in
`requirements.lock`. Each test there is one here.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import serve_world as world
from tests import elsewhere

HERE = Path(__file__).parent
PYTHON = HERE.parents[2] / ".venv-clients" / "bin" / "python"
CLIENT = HERE / "client"

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="the clients are not here: 'make clients' makes their environment"
)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, server: str) -> dict[str, list[str]]:
    """What became of the clients' tests: name to failures."""
    stores = world.make_world(tmp_path_factory.mktemp("clients"))
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        beside = one.getsockname()[1]
    with world.server_process(stores.spool.parent, grpc_port=beside) as (_, port):
        environment = {
            "MODELWORKS_HTTP": f"127.0.0.1:{port}",
            "MODELWORKS_GRPC": f"127.0.0.1:{beside}",
            "MODELWORKS_URL": server,
        }
        found: dict[str, list[str]] = {}
        for module in CLIENT.glob("test_*.py"):  # one process cannot import both clients
            report = tmp_path_factory.mktemp("report") / "report.xml"
            found |= elsewhere.run(PYTHON, CLIENT, report, environment, module.name)
        return found


@pytest.mark.parametrize("name", elsewhere.names_of(CLIENT))
def test_the_client(outcomes: dict[str, list[str]], name: str) -> None:
    assert name in outcomes, "it did not run"
    assert not outcomes[name], "\n".join(outcomes[name])
