"""The stream detectors of the house: values one by one, instead of two samples side by side."""

from modelworks.core.catalog import Catalog
from modelworks.monitor.detectors.port import Detector

DETECTORS: Catalog[Detector] = Catalog(
    "detector",
    {
        "adwin": "modelworks.monitor.detectors.adwin:ADWIN",
        "ddm": "modelworks.monitor.detectors.ddm:DDM",
        "page_hinkley": "modelworks.monitor.detectors.page_hinkley:PAGE_HINKLEY",
    },
)
