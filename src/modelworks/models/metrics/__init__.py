"""The metrics of the house."""

from modelworks.core.catalog import Catalog
from modelworks.models.metrics.port import Metric

METRICS: Catalog[Metric] = Catalog(
    "metric",
    {
        "accuracy": "modelworks.models.metrics.classification:ACCURACY",
        "average_precision": "modelworks.models.metrics.classification:AVERAGE_PRECISION",
        "brier": "modelworks.models.metrics.classification:BRIER",
        "log_loss": "modelworks.models.metrics.classification:LOG_LOSS",
        "roc_auc": "modelworks.models.metrics.classification:ROC_AUC",
        "mae": "modelworks.models.metrics.regression:MAE",
        "r2": "modelworks.models.metrics.regression:R2",
        "rmse": "modelworks.models.metrics.regression:RMSE",
    },
)

__all__ = ["METRICS", "Metric"]
