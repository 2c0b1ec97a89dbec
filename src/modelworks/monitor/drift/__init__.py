"""The drift tests of the house."""

from modelworks.core.catalog import Catalog
from modelworks.monitor.drift.port import DriftTest

DRIFT_TESTS: Catalog[DriftTest] = Catalog(
    "drift_test",
    {
        "chi2": "modelworks.monitor.drift.chi2:CHI2",
        "js": "modelworks.monitor.drift.js:JS",
        "ks": "modelworks.monitor.drift.ks:KS",
        "ks_p": "modelworks.monitor.drift.ks:KS_P",
        "psi": "modelworks.monitor.drift.psi:PSI",
        "wasserstein": "modelworks.monitor.drift.wasserstein:WASSERSTEIN",
    },
)
