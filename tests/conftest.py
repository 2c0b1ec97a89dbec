"""What several rooms' tests share: the project of `modelworks init`, trained, and a server for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
