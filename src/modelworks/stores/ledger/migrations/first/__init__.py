"""The tables as revision 0001 makes them: frozen, whatever becomes of those in the code.

Nothing here is imported from `tables`, and nothing here is ever changed: what a ledger of revision 0001 is must
not depend on the code that opens it.
"""

from modelworks.stores.ledger.migrations.first import data, loop, models, runs
from modelworks.stores.ledger.migrations.first.kinds import schema

__all__ = ["data", "loop", "models", "runs", "schema"]
