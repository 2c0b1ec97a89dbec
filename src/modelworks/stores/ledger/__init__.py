"""The ledger: versions, runs, deployments, alerts, decisions, audit, lineage, in one SQL database."""

from modelworks.stores.ledger import tables
from modelworks.stores.ledger.engine import Ledger

__all__ = ["Ledger", "tables"]
