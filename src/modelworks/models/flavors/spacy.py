"""spaCy: named entities of a text. Kept as its config and its weights, which need no pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from modelworks.core.batch import Batch
from modelworks.core.errors import Invalid
from modelworks.core.schema import Field
from modelworks.models.flavors.port import Answers, Example, kinds_of
from modelworks.models.predictor import shaped
from modelworks.models.signature import Signature


@dataclass(frozen=True)
class SpacyPredictor:
    """A pipeline that finds the entities of texts: each a dict of text, label, start and end, in characters."""

    nlp: Any
    signature: Signature

    def predict(self, batch: Batch) -> npt.NDArray[Any]:
        """See `Predictor.predict`."""
        found = [
            [
                {"text": one.text, "label": one.label_, "start": one.start_char, "end": one.end_char}
                for one in document.ents
            ]
            for document in self.nlp.pipe(batch.texts[:, 0].tolist())
        ]
        return shaped(found, self.signature, len(batch))


class SpacyFlavor:
    """Pipelines (``spacy.Language``) with a component that finds entities."""

    name = "spacy"
    pickled = False

    def accepts(self, model: Any) -> bool:
        """See `Flavor.accepts`."""
        return "Language" in kinds_of(model, "spacy")

    def inputs(self, model: Any) -> tuple[Field, ...] | None:
        """See `Flavor.inputs`."""
        return None

    def answers(self, model: Any, example: Example) -> Answers:
        """See `Flavor.answers`."""
        takes = example.takes
        if len(takes.texts) != 1 or takes.numbers:
            raise Invalid(
                "a spaCy pipeline takes one text", f"the features are {', '.join(one.name for one in takes.inputs)}",
                "name the column of the text as the only feature",
            )  # fmt: skip
        return "other", ()

    def dump(self, model: Any, signature: Signature) -> bytes:
        """See `Flavor.dump`: the config as one line of JSON, then the weights."""
        try:
            content: bytes = model.to_bytes()
            return json.dumps(model.config.to_str()).encode() + b"\n" + content
        except Exception as error:
            raise Invalid(
                "the spaCy pipeline cannot be stored", str(error), "see Language.to_bytes"
            ) from error

    def load(self, content: bytes) -> Any:
        """See `Flavor.load`."""
        import spacy

        head, _, weights = content.partition(b"\n")
        config = spacy.util.load_config_from_str(json.loads(head))
        nlp = spacy.util.get_lang_class(config["nlp"]["lang"]).from_config(config)
        return nlp.from_bytes(weights)

    def predictor(self, model: Any, signature: Signature) -> SpacyPredictor:
        """See `Flavor.predictor`."""
        return SpacyPredictor(model, signature)

    def compile(self, model: Any, signature: Signature, *, template: bool) -> bytes:
        """See `Flavor.compile`."""
        raise Invalid("a spaCy pipeline has no ONNX form", "", "it is served natively")


SPACY = SpacyFlavor()
