"""The triggers of the house."""

from modelworks.core.catalog import Catalog
from modelworks.learn.triggers.port import Trigger

TRIGGERS: Catalog[type[Trigger]] = Catalog(
    "trigger",
    {
        "every": "modelworks.learn.triggers.every:Every",
        "on_code": "modelworks.learn.triggers.on_code:OnCode",
        "on_data": "modelworks.learn.triggers.on_data:OnData",
        "on_decay": "modelworks.learn.triggers.on_decay:OnDecay",
        "on_detector": "modelworks.learn.triggers.on_detector:OnDetector",
        "on_drift": "modelworks.learn.triggers.on_drift:OnDrift",
        "on_gain": "modelworks.learn.triggers.on_gain:OnGain",
        "on_outcomes": "modelworks.learn.triggers.on_outcomes:OnOutcomes",
        "on_rows": "modelworks.learn.triggers.on_rows:OnRows",
    },
)
