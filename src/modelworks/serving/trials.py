"""What a server runs beside champions: challengers of rollouts and holdouts, loaded as the ledger says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select

from modelworks.core.clock import new_id
from modelworks.core.errors import Invalid, ModelworksError
from modelworks.core.ref import Ref, Segment, segment_text
from modelworks.deploy import rollouts
from modelworks.deploy.holdout import Holdout
from modelworks.deploy.rollout import Underway
from modelworks.serving.arms import Breaker, Control, Division, Fixed, Trial
from modelworks.serving.replica import Replica
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.tables import model_versions
from modelworks.stores.ledger.tables import rollouts as entered

_log = logging.getLogger("modelworks.serving")
_BEAT = timedelta(seconds=5)

Load = Callable[[str, Segment, int, Mapping[str, Any]], Replica]
"""Loads a version, by model, segment and number, from its stored package."""


def mark(db: Connection) -> tuple[Any, ...]:
    """What changes when any rollout changes."""
    return (db.scalar(select(func.max(entered.c.revision))) or 0,)


@dataclass(frozen=True)
class _Wanted:
    """A version that is needed beside a champion."""

    model: str
    segment: Segment
    version: int


class Trials:
    """The rollouts and holdouts of one server.

    Args:
        load: Loads a version.
    """

    def __init__(self, load: Load) -> None:
        self.server = new_id()
        self.states: dict[str, str] = {}
        self._load = load
        self._loaded: dict[_Wanted, Replica] = {}
        self._breakers: dict[str, Breaker] = {}
        self._told: tuple[datetime, dict[str, str]] | None = None

    def divisions(
        self,
        db: Connection,
        live: Mapping[str, Mapping[Segment, Replica]],
        holdouts: Mapping[str, Holdout],
        keys: Mapping[str, str | None],
    ) -> dict[str, dict[Segment, Division]]:
        """What goes on for segments, by model; what that needs is loaded, and warmed by an answer.

        Args:
            db: Reads the ledger.
            live: The champions.
            holdouts: Of models that have one.
            keys: The key column of each model's dataset.
        """
        going = {(one.model, one.segment): one for one in rollouts.running(db)}
        self._breakers = {one.id: self._breakers.get(one.id) or Breaker() for one in going.values()}
        states: dict[str, str] = {}
        needed: set[_Wanted] = set()
        found: dict[str, dict[Segment, Division]] = {}
        for model in {name for name, _ in going} | holdouts.keys():
            for segment, champion in live.get(model, {}).items():
                control = self._control(db, holdouts.get(model), champion, keys.get(model), needed)
                one = going.get((model, segment))
                trial = (
                    None if one is None else self._trial(db, one, champion, keys.get(model), needed, states)
                )
                if control is not None or trial is not None:
                    found.setdefault(model, {})[segment] = Division(model, trial, control)
        self._loaded = {wanted: one for wanted, one in self._loaded.items() if wanted in needed}
        self.states = states
        return found

    def _trial(
        self,
        db: Connection,
        one: Underway,
        champion: Replica,
        key: str | None,
        needed: set[_Wanted],
        states: dict[str, str],
    ) -> Trial | None:
        try:
            challenger = self._replica(db, _Wanted(one.model, one.segment, one.state.challenger), needed)
            if challenger.signature.task != champion.signature.task:
                raise Invalid(
                    f"{challenger.ref} cannot stand beside {champion.ref}",
                    f"it answers {challenger.signature.task}, the champion {champion.signature.task}",
                    "bring it out with 'modelworks deploy'",
                )
        except Exception as error:
            states[one.id] = str(error)[:500]
            _log.warning("%s cannot be loaded for its rollout: %s", one.ref, error)
            return None
        states[one.id] = ""
        if one.state.share <= 0:
            return None
        by = one.strategy.get("by") or key
        return Trial(one.id, challenger, one.state.share, one.silent, by, self._breakers[one.id])

    def _control(
        self,
        db: Connection,
        holdout: Holdout | None,
        champion: Replica,
        key: str | None,
        needed: set[_Wanted],
    ) -> Control | None:
        if holdout is None:
            return None
        if holdout.answer != "baseline":
            answer = None if holdout.answer == "none" else float(holdout.answer)
            replica: Replica = Fixed(champion, answer)
        else:
            ref = champion.ref
            try:
                replica = self._replica(db, _Wanted(ref.name, ref.segment, holdout.version), needed)
            except Exception as error:
                _log.warning("the baseline of %s cannot be loaded: %s", Ref(ref.name, ref.segment), error)
                return None
        return Control(replica, holdout.share / 100, holdout.by or key)

    def _replica(self, db: Connection, wanted: _Wanted, needed: set[_Wanted]) -> Replica:
        needed.add(wanted)
        if wanted not in self._loaded:
            here = (
                model_versions.c.model == wanted.model,
                model_versions.c.segment == segment_text(wanted.segment),
                model_versions.c.version == wanted.version,
            )
            package = db.scalar(select(model_versions.c.package).where(*here))
            if package is None:
                ref = Ref(wanted.model, wanted.segment, wanted.version)
                raise Invalid(f"there is no {ref}", "", "register it")
            replica = self._load(wanted.model, wanted.segment, wanted.version, package)
            replica.load()
            _warm(replica)
            self._loaded[wanted] = replica
        return self._loaded[wanted]

    def loaded(self, model: str, segment: Segment, version: int) -> Replica | None:
        """A version that is in memory already: a challenger that is champion now needs no second load."""
        return self._loaded.get(_Wanted(model, segment, version))

    def held(self) -> set[Replica]:
        """All that is in memory."""
        return set(self._loaded.values())

    def beat(self, ledger: Ledger) -> None:
        """Say in the ledger that this server is alive, every few seconds, and at once what is new of rollouts."""
        now = datetime.now(UTC)
        if self._told is not None and self._told[1] == self.states and now - self._told[0] < _BEAT:
            return
        with ledger.write() as db:
            rollouts.heartbeat(db, self.server, self.states, now)
        self._told = now, dict(self.states)

    def close(self, ledger: Ledger) -> None:
        """Say that this server ends."""
        if self._told is not None:
            try:
                with ledger.write() as db:
                    rollouts.gone(db, self.server)
            except ModelworksError as error:  # it is taken for gone some seconds later
                _log.warning("the ledger cannot be told that this server ends: %s", error)


def columns(divisions: Collection[Division]) -> set[str]:
    """The columns that rows of these segments stick by."""
    return {name for division in divisions for name in division.columns()}


def _warm(replica: Replica) -> None:
    """Answer a row of nothing, so that the first caller does not wait for what is done once."""
    row = tuple(0.0 for _ in replica.signature.numbers), tuple("" for _ in replica.signature.texts)
    try:
        replica.predict([row[0]], [row[1]])
    except ModelworksError as error:  # it may not like such a row; its own rows decide
        _log.info("%s could not be warmed: %s", replica.ref, error)
