"""Lets these tests import `serve_world`; worker processes for those that need them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelworks.serving.native.pools import Pools
from modelworks.stores import Stores

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def pools(stores: Stores) -> Iterator[Pools]:
    """Worker processes for native models, of the artifacts of the test's own stores."""
    made = Pools(stores.artifacts)
    yield made
    made.close()
