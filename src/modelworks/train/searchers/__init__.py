"""The searchers of the house."""

from modelworks.core.catalog import Catalog
from modelworks.train.searchers.port import Searcher

SEARCHERS: Catalog[Searcher] = Catalog(
    "searcher",
    {
        "grid": "modelworks.train.searchers.grid:suggest",
        "random": "modelworks.train.searchers.random:suggest",
        "tpe": "modelworks.train.searchers.tpe:suggest",
    },
)
