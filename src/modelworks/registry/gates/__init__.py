"""The gates of the house, and how a candidate is put to several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelworks.core.catalog import Catalog
from modelworks.registry.gates.evidence import Need
from modelworks.registry.gates.port import Gate, GateInput, Verdict

GATES: Catalog[type[Gate]] = Catalog(
    "gate",
    {
        "at_least": "modelworks.registry.gates.at_least:AtLeast",
        "at_most": "modelworks.registry.gates.at_most:AtMost",
        "beats_champion": "modelworks.registry.gates.beats_champion:BeatsChampion",
        "calibrated": "modelworks.registry.gates.calibrated:Calibrated",
        "compatible": "modelworks.registry.gates.compatible:Compatible",
        "compiled": "modelworks.registry.gates.compiled:Compiled",
        "fair": "modelworks.registry.gates.fair:Fair",
        "fast": "modelworks.registry.gates.fast:Fast",
        "fresh_data": "modelworks.registry.gates.fresh_data:FreshData",
        "robust": "modelworks.registry.gates.robust:Robust",
        "slices": "modelworks.registry.gates.slices:Slices",
        "small": "modelworks.registry.gates.small:Small",
    },
)


def needed(gates: Sequence[Gate]) -> tuple[Need[Any], ...]:
    """What gates want to be looked at, each once."""
    return tuple(dict.fromkeys(need for gate in gates for need in getattr(gate, "needs", ())))


def judge_all(gates: Sequence[Gate], seen: GateInput) -> tuple[bool, tuple[Verdict, ...]]:
    """Put a candidate to every gate, also after one has refused it: a person wants to see all reasons.

    A gate that fails refuses: one broken gate must neither let a candidate pass nor hold up the others.

    Returns:
        Whether all let it pass, and what each said.
    """
    verdicts = tuple(_judge(gate, seen) for gate in gates)
    return all(verdict.passed for verdict in verdicts), verdicts


def _judge(gate: Gate, seen: GateInput) -> Verdict:
    try:
        return gate.judge(seen)
    except Exception as error:
        reason = f"the gate itself failed: {type(error).__name__}: {error}"
        return Verdict(gate.name, False, reason, {"error": type(error).__name__})
