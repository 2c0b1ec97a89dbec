"""The population stability index."""

from __future__ import annotations

from modelworks.core.stability import stability
from modelworks.monitor.drift.port import DriftTest

PSI = DriftTest("psi", "effect", stability, usual=0.2, slight=0.004, noise=1.0)
