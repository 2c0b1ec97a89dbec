"""Verbs of the making line: models, and to train more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from modelworks.core.ref import Ref
from modelworks.core.verbs import verb
from modelworks.factory.root import Plain, Root
from modelworks.pipelines import arrivals as arriving
from modelworks.pipelines import bring_in, report
from modelworks.pipelines import labels as labelling
from modelworks.pipelines import train as training
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

    @verb("POST", "/api/train")
    def train(
        self,
        model: str | None = None,
        segments: Sequence[str] | None = None,
        force: bool = False,
        progress: Progress = silent,
    ) -> Plain:
        """Train a model, or all: every segment with enough rows, or only those named; judge and bring out."""
        names = [model] if model else list(self.project.models)
        self.audited("train", ", ".join(names), {"segments": list(segments or [])})
        return [
            training.train(
                self.stations, self.project.model(name), segments=segments, force=force, progress=progress
            )
            for name in names
        ]

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
