"""The population stability index."""

from __future__ import annotations

from modelworks.core.stability import stability
from modelworks.monitor.drift.port import DriftTest

PSI = DriftTest("psi", "effect", stability, usual=0.2, noise=1.0)
