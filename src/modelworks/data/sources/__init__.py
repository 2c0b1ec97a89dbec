"""The sources of the house."""

from modelworks.core.catalog import Catalog
from modelworks.data.sources.port import Incremental, Source

SOURCES: Catalog[type[Source | Incremental]] = Catalog(
    "source",
    {"files": "modelworks.data.sources.files:Files", "sql": "modelworks.data.sources.sql:Sql"},
)
