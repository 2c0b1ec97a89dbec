"""Verbs that look back: where a thing comes from, and who did it."""

from __future__ import annotations

from typing import Literal

from modelworks.access import audit
from modelworks.core.ref import Ref
from modelworks.core.verbs import verb
from modelworks.factory.root import Plain, Root
from modelworks.lineage.receiver import public
from modelworks.pipelines import explain
from modelworks.pipelines import impact as following


class Trail(Root):
    """Verbs that look back: where a thing comes from, and who did it."""

    @verb("GET", "/api/why")
    def why(self, prediction_id: str) -> Plain:
        """From a prediction back to the rows, code, environment, gates and decisions behind it."""
        return explain.why(self.stations, prediction_id)

    @verb("GET", "/api/lineage")
    def lineage(self, ref: str, direction: Literal["up", "down"] = "up", depth: int = 6) -> Plain:
        """What a thing was made from, or what was made from it."""
        return explain.lineage(self.stations, ref, direction, depth)

    def export_lineage(self, to: str, again: bool = False) -> Plain:
        """Tell a file or a URL of the lineage, as OpenLineage events: what it was not told yet.

        There is no such route over HTTP: where it goes to is this machine's affair.

        Args:
            to: A file, to which lines of JSON are added, or a URL.
            again: Tell all of it once more.
        """
        self.audited("export_lineage", public(to), {"again": True} if again else {})
        return {"to": public(to), "events": self.tell_lineage(to, again)}

    @verb("GET", "/api/impact")
    def impact(self, ref: str, limit: int = 20) -> Plain:
        """What follows if a version of data or of a model is bad: who learned from it, is live, was answered."""
        return following.impact(self.stations, Ref.parse(ref), limit)

    @verb("GET", "/api/audit", role="admin")
    def audit(self, limit: int = 50) -> Plain:
        """Who did what."""
        with self.stores.ledger.read() as db:
            return audit.recent(db, limit)
