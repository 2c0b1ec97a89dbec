"""The rollout strategies of the house."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelworks.core.catalog import Catalog
from modelworks.deploy.strategies.port import Strategy

STRATEGIES: Catalog[type[Strategy]] = Catalog(
    "strategy",
    {
        "ab": "modelworks.deploy.strategies.ab:AB",
        "bandit": "modelworks.deploy.strategies.bandit:Bandit",
        "blue_green": "modelworks.deploy.strategies.blue_green:BlueGreen",
        "canary": "modelworks.deploy.strategies.canary:Canary",
        "direct": "modelworks.deploy.strategies.direct:Direct",
        "shadow": "modelworks.deploy.strategies.shadow:Shadow",
    },
)


def strategy_of(data: Mapping[str, Any]) -> Strategy:
    """The strategy that `Strategy.to_json` made this of.

    Raises:
        NotFound: there is none of that kind here.
    """
    return STRATEGIES[data["kind"]](**{name: value for name, value in data.items() if name != "kind"})
