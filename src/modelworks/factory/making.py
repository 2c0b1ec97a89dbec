"""Verbs of the making line: models, and to train more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modelworks.core.ref import Ref
from modelworks.core.verbs import verb
from modelworks.factory.root import Plain, Root
from modelworks.pipelines import bring_in, report
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
        return [
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
