"""A gate: predicted probabilities must be true."""

from __future__ import annotations

from dataclasses import dataclass

from modelworks.core.errors import Invalid
from modelworks.registry.gates.chance import miscalibrated, two_sided
from modelworks.registry.gates.evidence import Calibration, Reliability
from modelworks.registry.gates.port import GateInput, Verdict, counted


@dataclass(frozen=True)
class Calibrated:
    """What is predicted with 30 % must happen in about 30 % of the rows: ``mw.Calibrated(within=0.05)``.

    The expected calibration error, ``sum over bins of share of rows * |mean probability - share that
    happened|``, in bins with about as many rows each, must be `within` or less. It is above 0 for a perfect
    model too, the more so the fewer rows there are; so a larger one is forgiven where the test of Hosmer and
    Lemeshow says that a calibrated model could well look like that. Of two classes it is about the second; of
    more, about the one that is predicted.

    Source: Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning",
    AAAI 2015; Guo et al., "On Calibration of Modern Neural Networks", ICML 2017; the test see
    `chance.miscalibrated`. Spiegelhalter's z (Statistics in Medicine 5, 1986) is in the evidence.

    Attributes:
        within: Largest expected calibration error that passes.
        bins: Largest number of bins; each has at least ten rows.
        confidence: How sure it has to be that a larger error is not chance; ``None`` takes it as it is.
        min_rows: Held-out rows without which nothing can be said; with fewer it refuses.

    Raises:
        Invalid: a number that makes no sense.
    """

    within: float = 0.05
    bins: int = 10
    confidence: float | None = 0.95
    min_rows: int = 30

    def __post_init__(self) -> None:
        if not 0 <= self.within < 1 or self.bins < 1:
            raise Invalid(
                f"{self!r} makes no sense", "", "use for instance mw.Calibrated(within=0.05, bins=10)"
            )
        if self.confidence is not None and not 0.5 <= self.confidence < 1:
            raise Invalid(f"a confidence of {self.confidence} is not possible", "", "use for instance 0.95")

    @property
    def name(self) -> str:
        """``"Calibrated"``."""
        return "Calibrated"

    @property
    def needs(self) -> tuple[Calibration, ...]:
        """See `Gate.needs`."""
        return (Calibration(self.bins),)

    def judge(self, seen: GateInput) -> Verdict:
        """See `Gate.judge`."""
        found = seen.found(self.needs[0])
        if isinstance(found, str):
            return Verdict(self.name, False, found)
        if found.rows < self.min_rows:
            few = f"{counted(found.rows, 'held-out row')} say nothing of calibration"
            return Verdict(self.name, False, f"{few}; at least {self.min_rows} are asked for")
        error = expected_error(found)
        statistic, chance = miscalibrated(found.bins)
        evidence = {
            "expected_calibration_error": error,
            "within": self.within,
            "hosmer_lemeshow": statistic,
            "p": chance,
            "spiegelhalter_z": found.z,
            "spiegelhalter_p": None if found.z is None else two_sided(found.z),
            "bins": found.bins,
        }
        said = f"the expected calibration error is {error:.3g} {seen.on_rows}"
        if error <= self.within:
            return Verdict(self.name, True, f"{said}, within {self.within:.3g}", evidence)
        worst = max(found.bins, key=lambda one: one.rows * abs(one.happened - one.predicted))
        where = (
            f"worst where {worst.predicted:.0%} was predicted and {worst.happened:.0%} of "
            f"{counted(worst.rows, 'row')} came true"
        )
        above = f"{said}, more than {self.within:.3g}, {where}"
        if self.confidence is None:
            return Verdict(self.name, False, above, evidence)
        if chance >= 1 - self.confidence:
            return Verdict(self.name, True, f"{above}; chance explains that (p = {chance:.2g})", evidence)
        return Verdict(self.name, False, f"{above}; that is not chance (p = {chance:.2g})", evidence)


def expected_error(found: Reliability) -> float:
    """The expected calibration error."""
    return sum(one.rows * abs(one.happened - one.predicted) for one in found.bins) / max(found.rows, 1)
