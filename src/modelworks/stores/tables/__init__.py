"""Tables of rows: Delta Lake, in a folder or a bucket."""

from modelworks.stores.tables.delta import DeltaTables
from modelworks.stores.tables.port import Commit, Packing, Tables

__all__ = ["Commit", "DeltaTables", "Packing", "Tables"]
