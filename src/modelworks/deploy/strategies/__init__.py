"""The rollout strategies of the house."""

from __future__ import annotations

from modelworks.core.catalog import Catalog
from modelworks.deploy.strategies.port import Strategy

STRATEGIES: Catalog[type[Strategy]] = Catalog(
    "strategy",
    {"direct": "modelworks.deploy.strategies.direct:Direct"},
)
