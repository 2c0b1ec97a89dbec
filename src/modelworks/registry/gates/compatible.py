"""A gate: callers must not notice that there is another version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from modelworks.core.schema import Field, Kind
from modelworks.models.signature import Signature
from modelworks.registry.gates.evidence import ChampionSignature
from modelworks.registry.gates.port import GateInput, Verdict, counted

_NUMBERS = (Kind.NUMBER, Kind.INTEGER)
"""Kinds that are sent alike: JSON has one number."""


@dataclass(frozen=True)
class Compatible:
    """The new version must answer what the champion's callers send now, in the form they know.

    Refused are an input that they would have to add, one that may no longer be missing, one of another type,
    one that is gone (the Open Inference Protocol refuses what it does not know; ``/predict`` passes over it),
    another kind of answer, and other classes. An input that is computed from others is not sent: what it is
    computed from counts instead. Where there is no champion, it passes.

    Attributes:
        may_drop: Whether inputs may go, where all callers use ``/predict``.
    """

    may_drop: bool = False

    @property
    def name(self) -> str:
        """``"Compatible"``."""
        return "Compatible"

    @property
    def needs(self) -> tuple[ChampionSignature, ...]:
        """See `Gate.needs`."""
        return (ChampionSignature(),)

    def judge(self, seen: GateInput) -> Verdict:
        """See `Gate.judge`."""
        new, old = seen.signature, seen.champion_signature
        if new is None:
            return Verdict(self.name, False, "nobody said what the model takes, so it cannot be judged")
        if old is None:
            return Verdict(self.name, True, "there is no champion whose callers could notice", {})
        broken = [*self._inputs(new, old), *_answers(new, old)]
        if broken:
            said = f"callers of the champion would notice: {'; '.join(broken[:5])}"
            more = f"; and {len(broken) - 5} more" if len(broken) > 5 else ""
            return Verdict(self.name, False, said + more, {"broken": broken})
        said = (
            f"it takes the champion's {counted(len(old.inputs), 'input')} and gives the same kind of answer"
        )
        return Verdict(self.name, True, said, {"broken": []})

    def _inputs(self, new: Signature, old: Signature) -> Iterator[str]:
        before = {field.name: field for field in old.inputs}
        after = {field.name: field for field in new.inputs}
        for name, field in after.items():
            was = before.get(name)
            if was is None:
                if not field.nullable or field.kind is Kind.TEXT:
                    yield f"{name} would have to be sent"
                else:
                    yield f"{name} would have to be sent, or null"
            elif _other(was, field):
                yield f"{name} was {was.kind}, is {field.kind}"
            elif was.nullable and not field.nullable:
                yield f"{name} may no longer be missing"
        if not self.may_drop:
            for name in before:
                if name not in after:
                    yield f"{name} is no longer taken"


def _other(was: Field, field: Field) -> bool:
    return was.kind is not field.kind and not (was.kind in _NUMBERS and field.kind in _NUMBERS)


def _answers(new: Signature, old: Signature) -> Iterator[str]:
    if new.task != old.task:
        yield f"the answer was {old.task}, is {new.task}"
    elif list(new.classes) != list(old.classes):
        yield f"the classes were {_listed(old)}, are {_listed(new)}"


def _listed(signature: Signature) -> str:
    names = [str(label) for label in signature.classes]
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
