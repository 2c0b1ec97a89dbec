"""The checks of the house, in the order in which a row meets them; the first that fails is its reason."""

from modelworks.core.catalog import Catalog
from modelworks.data.checks.port import Check, Rule

CHECKS: Catalog[Check] = Catalog(
    "check",
    {
        "type": "modelworks.data.checks.column:TYPE",
        "null": "modelworks.data.checks.column:NULL",
        "finite": "modelworks.data.checks.column:FINITE",
        "range": "modelworks.data.checks.column:RANGE",
        "allowed": "modelworks.data.checks.column:ALLOWED",
    },
)

RULES: Catalog[type[Rule]] = Catalog(
    "rule",
    {
        "row": "modelworks.data.checks.row:Rule",
        "fresh": "modelworks.data.checks.batch:Fresh",
        "rows": "modelworks.data.checks.batch:Rows",
        "steady": "modelworks.data.checks.batch:Steady",
    },
)
"""What a dataset can declare beside its columns."""


def in_order() -> list[Check]:
    """Every check: those of the house as they stand above, then those of guests."""
    return [CHECKS[name] for name in dict.fromkeys([*CHECKS.own, *CHECKS])]
