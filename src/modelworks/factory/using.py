"""Verbs of the using line: what answers, and how it is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from modelworks.core.duration import moment
from modelworks.core.ref import Ref
from modelworks.core.verbs import verb
from modelworks.factory.root import Plain, Root
from modelworks.pipelines import by_hand, report, rollout
from modelworks.pipelines import export as exporting
from modelworks.pipelines import score as scoring
from modelworks.pipelines.context import Progress, silent


class Using(Root):
    """Verbs of the using line: what answers, and how it is changed."""

    @verb("GET", "/api/deployments")
    def deployments(self, model: str | None = None, limit: int = 1000) -> Plain:
        """Which version answers for which segment."""
        return report.deployments(self.stations, model, limit)

    @verb("GET", "/api/predictions")
    def predictions(
        self,
        model: str | None = None,
        limit: int = 50,
        since: str | None = None,
        until: str | None = None,
        caller: str | None = None,
        request: str | None = None,
    ) -> Plain:
        """The newest predictions: from `since` on and before `until`, each a time (ISO 8601) or a duration ago.

        Those that the token of the name `caller` asked for, that came with the ``X-Request-Id`` `request`, where these
        are given.
        """
        first, last = (None if text is None else moment(text, self.now()) for text in (since, until))
        return self.stations.serve.recent(model, limit, first, last, caller, request)

    @verb("POST", "/api/deploy")
    def deploy(self, ref: str, reason: str = "by hand", gradually: bool = False) -> Plain:
        """Make a version the champion of its segment: at once, or gradually by the model's rollout strategy."""
        line = self.auditing("deploy", ref, {"reason": reason, **({"gradually": True} if gradually else {})})
        return by_hand.deploy(self.stations, Ref.parse(ref), reason, gradually, line)

    @verb("GET", "/api/rollouts")
    def rollouts(self, model: str | None = None, limit: int = 50) -> Plain:
        """Rollouts: those that go on first, each with what was seen of both sides and the steps it took."""
        return rollout.shown(self.stations, model, limit)

    @verb("POST", "/api/promote")
    def promote(self, ref: str, reason: str = "by hand") -> Plain:
        """Make the challenger of a rollout the champion now, without waiting for its end."""
        return rollout.promote(
            self.stations, Ref.parse(ref), reason, self.auditing("promote", ref, {"reason": reason})
        )

    @verb("POST", "/api/rollback")
    def rollback(self, ref: str, reason: str = "by hand") -> Plain:
        """Undo the last change of a segment: abandon its rollout, or give it its previous champion back."""
        return by_hand.rollback(
            self.stations, Ref.parse(ref), reason, self.auditing("rollback", ref, {"reason": reason})
        )

    @verb("GET", "/api/waiting")
    def waiting(self, model: str | None = None) -> Plain:
        """Versions that passed their gates and wait for a person, the newest first."""
        return by_hand.waiting(self.stations, model)

    @verb("POST", "/api/approve")
    def approve(self, ref: str) -> Plain:
        """Bring out a version that passed its gates and waits for a person."""
        return by_hand.approve(self.stations, Ref.parse(ref), self.who, self.auditing("approve", ref))

    @verb("POST", "/api/reject")
    def reject(self, ref: str, reason: str = "") -> Plain:
        """Turn down a version that waits for a person."""
        line = self.auditing("reject", ref, {"reason": reason})
        return by_hand.reject(self.stations, Ref.parse(ref), self.who, reason, line)

    def predict(self, model: str, rows: Sequence[Mapping[str, Any]]) -> Plain:
        """Answer rows in this process, logged as the server does; over HTTP it is ``/predict/{model}``."""
        return self.stations.serve.predict(model, rows)

    def stream(self, model: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Answer rows piece by piece, as they come; over HTTP it is ``/predict/{model}/stream``.

        Yields:
            ``{"row", "piece"}`` for each piece, at last what `predict` would have answered.
        """
        return self.stations.serve.stream(model, rows)

    def score(
        self,
        model: str,
        out: Path | str,
        *,
        file: Path | str | None = None,
        dataset: str | None = None,
        keep: Sequence[str] = (),
        workers: int = 0,
        progress: Progress = silent,
    ) -> Plain:
        """Answer every row of a file or a dataset into a Parquet file; a call that was cut off goes on.

        There is no such route over HTTP: both files are this machine's. The answers stand in the file, not in the
        prediction log.

        Args:
            model: ``delay``, ``delay[UA,EWR]`` or ``delay@3``.
            out: The Parquet file to write.
            file: Rows as Parquet, CSV, JSON or JSON Lines.
            dataset: Instead of a file: ``flights`` or ``flights@12``.
            keep: Columns to write beside the answers, besides key and time; ``"*"`` for all.
            workers: Processes; 0 for one a core.
            progress: Told how far it is.
        """
        chosen = self.config.settings
        self.audited("score", model, {"file": None if file is None else str(file), "dataset": dataset})
        return scoring.score(
            self.stations,
            Ref.parse(model),
            Path(out),
            file=None if file is None else Path(file),
            dataset=dataset,
            keep=keep,
            workers=workers,
            places=(str(self.config.state), chosen.ledger_url, chosen.tables_url, chosen.artifacts_url),
            progress=progress,
        )

    def export_docker(self, ref: str, out: Path | str, port: int = 8000) -> Plain:
        """Write what an image needs that serves a model, or one version of it, without this factory.

        There is no such route over HTTP, nor for `export_kubernetes`: the folder is this machine's.
        """
        self.audited("export", ref, {"out": str(out)})
        return exporting.image(self.stations, Ref.parse(ref), Path(out), port=port)

    def export_kubernetes(
        self, ref: str, out: Path | str, wanted: exporting.Wanted | None = None, port: int = 8000
    ) -> Plain:
        """Write an image's content into ``out/image``, and beside it the manifests that run it."""
        chosen = wanted or exporting.Wanted()
        exported = self.export_docker(ref, Path(out) / "image", port)
        for name, text in exporting.manifests(exported, chosen, port).items():
            (Path(out) / name).write_text(text)
        return exported

    def outcomes(self, outcomes: Sequence[Mapping[str, Any]]) -> Plain:
        """Tell what really happened; over HTTP it is ``/outcomes``."""
        return self.stations.serve.outcomes(outcomes)

    def roll(self) -> Plain:
        """Move rollouts on by what the log says; part of `apply`, and done every second beside a server."""
        return rollout.turn(self.stations)

    def drain(self) -> int:
        """Move what servers and runs have logged to where it rests; returns the number of rows."""
        return self.stations.serve.drain() + self.tracking.settle()
