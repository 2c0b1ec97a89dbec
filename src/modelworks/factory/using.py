"""Verbs of the using line: what answers, and how it is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelworks.core.ref import Ref
from modelworks.core.verbs import verb
from modelworks.factory.root import Plain, Root
from modelworks.pipelines import release, report, rollout


class Using(Root):
    """Verbs of the using line: what answers, and how it is changed."""

    @verb("GET", "/api/deployments")
    def deployments(self, model: str | None = None, limit: int = 1000) -> Plain:
        """Which version answers for which segment."""
        return report.deployments(self.stations, model, limit)

    @verb("GET", "/api/predictions")
    def predictions(self, model: str | None = None, limit: int = 50) -> Plain:
        """The newest predictions."""
        return self.stations.serve.recent(model, limit)

    @verb("POST", "/api/deploy")
    def deploy(self, ref: str, reason: str = "by hand", gradually: bool = False) -> Plain:
        """Make a version the champion of its segment: at once, or gradually by the model's rollout strategy."""
        self.audited("deploy", ref, {"reason": reason, **({"gradually": True} if gradually else {})})
        return release.deploy(self.stations, Ref.parse(ref), reason, gradually)

    @verb("GET", "/api/rollouts")
    def rollouts(self, model: str | None = None, limit: int = 50) -> Plain:
        """Rollouts: those that go on first, each with what was seen of both sides and the steps it took."""
        return rollout.shown(self.stations, model, limit)

    @verb("POST", "/api/promote")
    def promote(self, ref: str, reason: str = "by hand") -> Plain:
        """Make the challenger of a rollout the champion now, without waiting for its end."""
        self.audited("promote", ref, {"reason": reason})
        return rollout.promote(self.stations, Ref.parse(ref), reason)

    @verb("POST", "/api/rollback")
    def rollback(self, ref: str, reason: str = "by hand") -> Plain:
        """Undo the last change of a segment: abandon its rollout, or give it its previous champion back."""
        self.audited("rollback", ref, {"reason": reason})
        return release.rollback(self.stations, Ref.parse(ref), reason)

    @verb("POST", "/api/approve")
    def approve(self, ref: str) -> Plain:
        """Bring out a version that passed its gates and waits for a person."""
        self.audited("approve", ref)
        return release.approve(self.stations, Ref.parse(ref), self.who)

    @verb("POST", "/api/reject")
    def reject(self, ref: str, reason: str = "") -> Plain:
        """Turn down a version that waits for a person."""
        self.audited("reject", ref, {"reason": reason})
        return release.reject(self.stations, Ref.parse(ref), self.who, reason)

    def predict(self, model: str, rows: Sequence[Mapping[str, Any]]) -> Plain:
        """Answer rows in this process, logged as the server does; over HTTP it is ``/predict/{model}``."""
        return self.stations.serve.predict(model, rows)

    def outcomes(self, outcomes: Sequence[Mapping[str, Any]]) -> Plain:
        """Tell what really happened; over HTTP it is ``/outcomes``."""
        return self.stations.serve.outcomes(outcomes)

    def roll(self) -> Plain:
        """Move rollouts on by what the log says; part of `apply`, and done every second beside a server."""
        return rollout.turn(self.stations)

    def drain(self) -> int:
        """Move what servers and runs have logged to where it rests; returns the number of rows."""
        return self.stations.serve.drain() + self.tracking.settle()
