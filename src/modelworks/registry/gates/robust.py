"""A gate: difficult inputs must not spoil the answers."""

from __future__ import annotations

from dataclasses import dataclass

from modelworks.core.errors import Invalid
from modelworks.models.metrics import METRICS
from modelworks.registry.gates.evidence import Strain, Trial, finite
from modelworks.registry.gates.port import GateInput, Verdict, counted, shown


@dataclass(frozen=True)
class Robust:
    """A metric may suffer by `fall` at most when inputs are difficult: ``mw.Robust("log_loss", fall=0.05)``.

    Tried on the held-out rows, one after the other: each input missing (where callers may leave it out), each
    text replaced by a value that no row had, each number moved up and down by `shift` standard deviations, and
    all numbers with noise of `noise` standard deviations. The worst of them counts. No chance is in it: the
    noise comes from a generator with a fixed seed.

    Source: the perturbations of Breck et al., "The ML Test Score", IEEE Big Data 2017, and of Hendrycks and
    Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019.

    Attributes:
        metric: Name of the metric.
        fall: How much worse it may become, in the metric's units.
        missing: Whether inputs are left out.
        unseen: Whether unseen categories are tried.
        shift: Standard deviations by which numbers are moved; 0 for not at all.
        noise: Standard deviations of the noise; 0 for none.

    Raises:
        NotFound: there is no such metric.
        Invalid: a number is below 0, or there is nothing to try.
    """

    metric: str
    fall: float
    missing: bool = True
    unseen: bool = True
    shift: float = 1.0
    noise: float = 0.1

    def __post_init__(self) -> None:
        METRICS[self.metric]
        if min(self.fall, self.shift, self.noise) < 0:
            raise Invalid(f"{self!r} makes no sense", "a number is below 0", "use 0 or more")
        if not (self.missing or self.unseen or self.shift or self.noise):
            raise Invalid("mw.Robust has nothing to try", "", "leave one of its trials on")

    @property
    def name(self) -> str:
        """``"Robust(metric)"``."""
        return f"Robust({self.metric})"

    @property
    def needs(self) -> tuple[Strain, ...]:
        """See `Gate.needs`."""
        return (Strain(self.metric, self.missing, self.unseen, self.shift, self.noise),)

    def judge(self, seen: GateInput) -> Verdict:
        """See `Gate.judge`."""
        found = seen.found(self.needs[0])
        if isinstance(found, str):
            return Verdict(self.name, False, found)
        evidence = {
            "value": found.value,
            "fall": self.fall,
            "trials": {trial.what: trial.value for trial in found.trials},
            "required": found.required,
        }
        before = finite(found.value)
        if before is None:
            return Verdict(self.name, False, seen.lacks(self.metric), evidence)
        if not found.trials:
            return Verdict(self.name, True, "none of its inputs can be made difficult", evidence)
        dumb = [trial.what for trial in found.trials if finite(trial.value) is None]
        if dumb:
            silent = f"with {dumb[0]} the model has no {self.metric}"
            more = f", and with {len(dumb) - 1} other trials" if len(dumb) > 1 else ""
            return Verdict(self.name, False, f"{silent}{more}, so it cannot be judged", evidence)
        up = METRICS[self.metric].greater_is_better

        def fallen(trial: Trial) -> float:
            assert trial.value is not None
            return before - trial.value if up else trial.value - before

        worst = max(found.trials, key=fallen)
        assert worst.value is not None
        lost, passed = fallen(worst), fallen(worst) <= self.fall
        before_text, after = shown(before, worst.value)
        tried = f"of {counted(len(found.trials), 'trial')} on {counted(found.rows, 'row')}"
        if lost <= 0:
            said = f"{self.metric} {before_text} does not suffer in any {tried}"
        else:
            said = (
                f"{self.metric} goes from {before_text} to {after} with {worst.what}, the worst {tried}: by "
                f"{lost:.3g}, {'within' if passed else 'more than'} {self.fall:.3g}"
            )
        if self.missing and found.required:
            said += f"; callers must send {', '.join(found.required[:5])}, which were not tried missing"
        return Verdict(self.name, passed, said, evidence)
