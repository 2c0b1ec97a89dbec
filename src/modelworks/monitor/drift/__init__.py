"""The drift tests of the house."""

from modelworks.core.catalog import Catalog
from modelworks.monitor.drift.port import DriftTest

DRIFT_TESTS: Catalog[DriftTest] = Catalog(
    "drift_test",
    {
        "chi2": "modelworks.monitor.drift.chi2:CHI2",
        "js": "modelworks.monitor.drift.js:JS",
        "psi": "modelworks.monitor.drift.psi:PSI",
    },
)
