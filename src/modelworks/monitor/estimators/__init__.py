"""How good answers are whose truth is not known yet."""

from modelworks.core.catalog import Catalog
from modelworks.monitor.estimators.port import Estimator

ESTIMATORS: Catalog[Estimator] = Catalog(
    "estimator",
    {
        "cbpe": "modelworks.monitor.estimators.cbpe:CBPE",
        "dle": "modelworks.monitor.estimators.dle:DLE",
    },
)

OF_TASK = {"binary": "cbpe", "multiclass": "dle", "regression": "dle"}
"""Which of them is for which task; plain data has none."""
