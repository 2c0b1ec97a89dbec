"""The arms of a segment: which of its rows the champion answers, a challenger, or nobody.

Who gets what is decided by a keyed hash of what rows stick by, without looking anything up. The hash is a number
between 0 and 1 that is compared with the share, so shares are nested: who met the challenger at 2 % meets it at 25 %.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal

import msgspec
import numpy as np
import orjson

from modelworks.serving.replica import Outputs, Replica

Arm = Literal["champion", "challenger", "shadow", "holdout"]
SLOW = 0.25
"""Seconds from which a challenger's call counts as a failure: all requests wait for it."""
_STRIKES = 2.5
_FADES = 0.9
_PAUSE = 5.0
_LONGEST = 300.0


class Note(msgspec.Struct, array_like=True, gc=False):
    """What is logged of a row of a divided segment, beside its answer.

    Attributes:
        arm: Who answered.
        rollout: Of which rollout it is evidence; ``None`` for none.
        seconds: How long the call took that it was part of.
        failure: What went wrong with the challenger; ``None`` for nothing.
    """

    arm: Arm
    rollout: str | None = None
    seconds: float | None = None
    failure: str | None = None


@dataclass(eq=False)
class Breaker:
    """Stops giving rows to a challenger that fails again and again, before anybody else hears of it.

    A failure is a strike, and strikes fade with each call. After too many of them there is a pause, each one twice
    as long as the one before; then one more failure begins the next.
    """

    strikes: float = 0.0
    pause: float = _PAUSE
    until: float = 0.0
    clock: Callable[[], float] = time.monotonic

    def open(self) -> bool:
        """Whether the challenger gets no rows just now."""
        return self.until > 0 and self.clock() < self.until

    def told(self, failed: bool) -> None:
        """Take in how a call ended."""
        self.strikes = self.strikes * _FADES + failed
        if failed and self.strikes >= _STRIKES and not self.open():
            self.until = self.clock() + self.pause
            self.pause = min(self.pause * 2, _LONGEST)
            self.strikes = _STRIKES


@dataclass(frozen=True)
class Trial:
    """A rollout, as this server runs it.

    Attributes:
        id: Of the rollout.
        replica: The challenger.
        share: Of the rows, 0 to 1.
        silent: Whether it answers beside the champion.
        by: The column that rows stick by, if any.
        breaker: Of this server.
    """

    id: str
    replica: Replica
    share: float
    silent: bool
    by: str | None
    breaker: Breaker = field(compare=False)


@dataclass(frozen=True)
class Control:
    """A holdout, as this server runs it: what its rows are answered by instead of the model."""

    replica: Replica
    share: float
    by: str | None


@dataclass(frozen=True)
class Division:
    """What goes on for one segment.

    Attributes:
        model: Name of the model: a holdout has the same keys in all segments.
        trial: Its rollout, if any.
        control: The model's holdout, if any.
    """

    model: str
    trial: Trial | None = None
    control: Control | None = None

    def replicas(self) -> list[Replica]:
        """All but the champion."""
        return [one.replica for one in (self.trial, self.control) if one is not None]

    @property
    def voiced(self) -> Division:
        """The same where every row has to be told something."""
        control = self.control
        none = control is not None and isinstance(control.replica, Fixed) and control.replica.answer is None
        return replace(self, control=None) if none else self

    def columns(self) -> set[str]:
        """What rows stick by."""
        return {one.by for one in (self.trial, self.control) if one is not None and one.by is not None}

    def arm(self, read: Callable[[str], Any]) -> Arm:
        """Who answers a row; ``"shadow"``: the champion, and silently the challenger.

        Args:
            read: Gives the row's value of a column.
        """
        control, trial = self.control, self.trial
        if control is not None and _draw(f"holdout:{self.model}", control.by, read) < control.share:
            return "holdout"
        if trial is None or _draw(trial.id, trial.by, read) >= trial.share:
            return "champion"
        return "shadow" if trial.silent else "challenger"


def _draw(salt: str, by: str | None, read: Callable[[str], Any]) -> float:
    """A number from 0 to below 1: the same for the same salt and value; any, where there is no value."""
    value = None if by is None else read(by)
    if value is None or value is msgspec.UNSET:
        return int.from_bytes(os.urandom(8)) / 2**64
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=salt.encode()[:64])
    return int.from_bytes(digest.digest()) / 2**64


class Fixed(Replica):
    """Answers the same for every row, in the place of a model.

    Args:
        beside: The champion, whose segment and signature it takes on.
        answer: The main output; ``None`` for no answer.
    """

    def __init__(self, beside: Replica, answer: float | None) -> None:
        super().__init__(
            beside.ref.name, beside.ref.segment, 0, beside.signature, beside.predictor, compiled=False
        )
        self.answer = answer
        self.streams = False

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, Fixed) and (self.text, self.answer) == (other.text, other.answer)
        return same and isinstance(other, Fixed) and self.signature == other.signature

    def __hash__(self) -> int:
        return hash((self.text, self.answer))

    def predict(self, numbers: Any, texts: Any) -> Outputs:
        """See `Replica.predict`; the task decides how one number fills a row."""
        classes = len(self.signature.classes)
        answer = 0.0 if self.answer is None else self.answer
        outputs = np.full((len(numbers), classes or 1), answer, dtype=np.float32)
        if self.signature.task == "binary":
            outputs[:, 0] = 1.0 - answer
        return outputs

    def fragments(self, outputs: Outputs) -> list[bytes] | None:
        """See `Replica.fragments`."""
        return [orjson.dumps(self.answer)] * len(outputs)
