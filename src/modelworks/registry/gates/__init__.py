"""The gates of the house, and how a candidate is put to several."""

from __future__ import annotations

from collections.abc import Sequence

from modelworks.core.catalog import Catalog
from modelworks.registry.gates.port import Gate, GateInput, Verdict

GATES: Catalog[type[Gate]] = Catalog(
    "gate",
    {
        "at_least": "modelworks.registry.gates.at_least:AtLeast",
        "at_most": "modelworks.registry.gates.at_most:AtMost",
        "beats_champion": "modelworks.registry.gates.beats_champion:BeatsChampion",
        "compiled": "modelworks.registry.gates.compiled:Compiled",
    },
)


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
