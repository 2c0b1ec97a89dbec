"""Libraries whose trainings record themselves."""

from modelworks.core.catalog import Catalog
from modelworks.track.autolog.port import Autolog

AUTOLOG: Catalog[Autolog] = Catalog(
    "autolog",
    {
        "sklearn": "modelworks.track.autolog.sklearn:SKLEARN",
        "lightgbm": "modelworks.track.autolog.lightgbm:LIGHTGBM",
        "xgboost": "modelworks.track.autolog.xgboost:XGBOOST",
        "torch": "modelworks.track.autolog.torch:TORCH",
    },
)
"""By the name of the module that a user imports."""
