"""The sources of the house."""

from modelworks.core.catalog import Catalog
from modelworks.data.sources.port import Source

SOURCES: Catalog[type[Source]] = Catalog("source", {"files": "modelworks.data.sources.files:Files"})
