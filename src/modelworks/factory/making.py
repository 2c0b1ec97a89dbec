"""Verbs of the making line: models, and to train more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from modelworks.core.duration import duration
from modelworks.core.ref import Ref
from modelworks.core.verbs import verb
from modelworks.factory.root import Plain, Root
from modelworks.pipelines import arrivals as arriving
from modelworks.pipelines import bring_in, garbage, report
from modelworks.pipelines import card as carding
from modelworks.pipelines import compare as comparing
from modelworks.pipelines import labels as labelling
from modelworks.pipelines import reproduce as reproducing
from modelworks.pipelines import train as training
from modelworks.pipelines import tune as tuning
from modelworks.pipelines.context import Progress, silent


class Making(Root):
    """Verbs of the making line: models, and to train more."""

    @verb("GET", "/api/models")
    def models(self) -> Plain:
        """Every model with its number of segments, versions and champions."""
        return report.models(self.stations)

    @verb("GET", "/api/model")
    def model(self, ref: str) -> Plain:
        """One model, segment or version: what it is, how good, since when."""
        return report.model(self.stations, Ref.parse(ref))

    @verb("GET", "/api/versions")
    def versions(self, model: str, segment: str | None = None, limit: int = 100) -> Plain:
        """The newest versions of a model."""
        return report.versions(self.stations, model, segment, limit)

    @verb("GET", "/api/card")
    def card(self, ref: str) -> Plain:
        """The facts of a version's model card; as a page it is ``/api/card.html`` and ``/api/card.md``."""
        return carding.card(self.stations, Ref.parse(ref))

    @verb("GET", "/api/models/compare")
    def compare_models(self, before: str, after: str) -> Plain:
        """Two model versions side by side: on the same rows, and in what they differ."""
        return comparing.compare(self.stations, Ref.parse(before), Ref.parse(after))

    @verb("POST", "/api/train")
    def train(
        self,
        model: str | None = None,
        segments: Sequence[str] | None = None,
        force: bool = False,
        scratch: bool = False,
        progress: Progress = silent,
    ) -> Plain:
        """Train a model, or all: every segment with enough rows, or only those named; judge and bring out."""
        names = [model] if model else list(self.project.models)
        self.audited("train", ", ".join(names), {"segments": list(segments or [])})
        told = [
            training.train(
                self.stations,
                self.project.model(name),
                segments=segments,
                force=force,
                scratch=scratch,
                progress=progress,
            )
            for name in names
        ]
        self.news()
        return told

    @verb("POST", "/api/reproduce")
    def reproduce(
        self, ref: str, here: bool = False, tolerance: float = 0.0, progress: Progress = silent
    ) -> Plain:
        """Train a version again from its lineage, in an environment of its own, and compare the answers."""
        self.audited("reproduce", ref)
        return reproducing.reproduce(
            self.stations,
            Ref.parse(ref),
            environments=self.config.state / "environments",
            here=here,
            tolerance=tolerance,
            progress=progress,
        )

    @verb("POST", "/api/archive")
    def archive(self, ref: str) -> Plain:
        """Put a model version away: it stays on record, may not be deployed, and its model may be let go."""
        self.audited("archive", ref)
        return garbage.archive(self.stations, Ref.parse(ref))

    @verb("POST", "/api/restore")
    def restore(self, ref: str) -> Plain:
        """Bring an archived model version back."""
        self.audited("restore", ref)
        return garbage.restore(self.stations, Ref.parse(ref))

    @verb("POST", "/api/gc", role="admin")
    def gc(self, dry_run: bool = False, grace: str = "1h") -> Plain:
        """Delete artifacts that nothing refers to and that are older than `grace`, and what killed trainings left."""
        if not dry_run:
            self.audited("gc", "artifacts", {"grace": grace})
        self.tracking.settle()
        return garbage.collect(self.stations, duration(grace), dry_run)

    @verb("POST", "/api/tune")
    def tune(
        self,
        model: str,
        segments: Sequence[str] | None = None,
        trials: int | None = None,
        minutes: float | None = None,
        seed: int | None = None,
        progress: Progress = silent,
    ) -> Plain:
        """Search for better parameters of a model, which its trainings then use; goes on where it stood."""
        self.audited("tune", model, {"segments": list(segments or []), "trials": trials, "minutes": minutes})
        return tuning.tune(
            self.stations,
            self.project.model(model),
            segments=segments,
            trials=trials,
            minutes=minutes,
            seed=seed,
            progress=progress,
        )

    @verb("POST", "/api/models/tag")
    def tag_model(self, ref: str, tags: Mapping[str, str | None]) -> Plain:
        """Set tags of a model, a segment or a version; one of null is taken away."""
        self.audited("tag_model", f"model:{ref}", {"tags": dict(tags)})
        return labelling.say(self.stations, Ref.parse(ref), tags=tags)

    @verb("POST", "/api/models/note")
    def note_model(self, ref: str, note: str) -> Plain:
        """Say something of a model, a segment or a version, in Markdown; it takes the place of what was said."""
        self.audited("note_model", f"model:{ref}")
        return labelling.say(self.stations, Ref.parse(ref), note=note)

    @verb("POST", "/api/models/owner")
    def own_model(self, ref: str, owner: str) -> Plain:
        """Say who answers for a model, a segment or a version."""
        self.audited("own_model", f"model:{ref}", {"owner": owner})
        return labelling.say(self.stations, Ref.parse(ref), owner=owner)

    def read_arrivals(self) -> int:
        """Read versions that came as files and wait for it; returns how many can be served now."""
        return arriving.read_waiting(self.stations)

    def trust_model(self, ref: str, example: Path | str | None = None) -> Plain:
        """Read a version that was kept as it came, even if that runs what its maker put in.

        There is no such route over HTTP: the trust is a person's of this machine.

        Args:
            ref: The version.
            example: A file with rows that the model can answer, on which its compiled form is proven.
        """
        self.audited("trust", f"model:{ref}", {"trust": True})
        return arriving.trust(self.stations, Ref.parse(ref), None if example is None else Path(example))

    def import_model(
        self,
        path: Path | str,
        name: str | None = None,
        trust: bool = False,
        example: Path | str | None = None,
    ) -> Plain:
        """Make a version of a model that was made elsewhere: a folder of MLflow's, or a file.

        There is no such route over HTTP: the path, and the trust in what lies there, are this machine's.

        Args:
            path: The folder, or a file: ONNX, LightGBM, XGBoost, PyTorch (.pt2), skops, pickle, joblib.
            name: Of the model; that of the file by default.
            trust: That its maker is known: then it may be a pickle, which can run any code when it is read.
            example: A file with rows that the model can answer, on which its compiled form is proven.
        """
        self.audited("import", str(path), {"name": name, "trust": trust})
        return bring_in.bring_in(
            self.stations, Path(path), name, trust, None if example is None else Path(example)
        )
