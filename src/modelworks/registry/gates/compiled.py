"""A gate: the model must be compiled, and proven equal to its original."""

from __future__ import annotations

from dataclasses import dataclass

from modelworks.registry.gates.port import GateInput, Verdict


@dataclass(frozen=True)
class Compiled:
    """The model must have been compiled and proven; refuses what would be served natively."""

    @property
    def name(self) -> str:
        """``"Compiled"``."""
        return "Compiled"

    def judge(self, seen: GateInput) -> Verdict:
        """See `Gate.judge`."""
        proof = seen.proof
        if proof is None:
            return Verdict(self.name, False, "nobody has tried to compile the model", {})
        evidence = {
            "rows": proof.rows,
            "largest_difference": proof.largest_difference,
            "tolerance": proof.tolerance,
        }
        if proof.reason or proof.largest_difference is None:
            reason = f"the model would be served natively: {proof.reason or 'it was not compiled'}"
            return Verdict(self.name, False, reason, evidence)
        reason = (
            f"the compiled model answers as the original does: on {proof.rows} rows they differ by "
            f"{proof.largest_difference:.2g} at most, {proof.tolerance:.2g} is allowed"
        )
        return Verdict(self.name, True, reason, evidence)
