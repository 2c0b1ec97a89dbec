"""Packing a fitted model: store the original, compile it, prove the two equal; and loading it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from modelworks.core.batch import Batch
from modelworks.core.errors import Invalid, NotReady
from modelworks.core.schema import Kind
from modelworks.models.compile.session import CompiledPredictor
from modelworks.models.flavors import FLAVORS, flavor_of
from modelworks.models.layout import to_batch
from modelworks.models.package import Package, Proof
from modelworks.models.predictor import Predictor
from modelworks.models.signature import Signature
from modelworks.stores.artifacts import Artifacts

if TYPE_CHECKING:
    import pandas as pd

Scores = npt.NDArray[np.float32]

TOLERANCE = 1e-4
"""Largest difference that a proof allows: absolute for probabilities, relative to the spread of the values for a
regression. float32 sums differ by some 1e-7 from float64 ones; a wrong graph differs by far more."""
_UNSEEN = "\x00 a value that no row had"


@dataclass(frozen=True)
class Answered:
    """What the original answers, before it is compiled.

    Attributes:
        rows: The held-out rows, then those derived from them (see `probes`).
        all_scores: Its answers to all of them: float32, shape (rows, classes) or (rows, 1).
        held_out: Number of held-out rows.
    """

    rows: Batch
    all_scores: Scores
    held_out: int

    @property
    def scores(self) -> Scores:
        """The answers on the held-out rows alone."""
        return self.all_scores[: self.held_out]


def pack(
    model: Any,
    signature: Signature,
    holdout: pd.DataFrame,
    artifacts: Artifacts,
    *,
    code: str,
    environment: str,
    reference: bytes | None,
) -> Package:
    """Make a package of a fitted model: `answered`, `proven` and `stored` in one.

    Args:
        model: The fitted model.
        signature: What it takes and gives.
        holdout: Rows it has not seen; the proof is on these, and on rows derived from them.
        artifacts: Where the blobs are stored.
        code: Digest of the definition's source.
        environment: Digest of the list of installed packages.
        reference: Reference sketch for monitoring, if there is one.

    Raises:
        Invalid: no flavor accepts the model, or it does not answer the held-out rows.
    """
    asked = answered(model, signature, to_batch(holdout, signature))
    graph, proof = proven(model, signature, asked)
    return stored(
        model, signature, graph, proof, artifacts, code=code, environment=environment, reference=reference
    )


def answered(model: Any, signature: Signature, holdout: Batch) -> Answered:
    """Ask the original about its held-out rows, and about the probes where it answers those.

    Raises:
        Invalid: no flavor accepts the model, or it does not answer the held-out rows.
    """
    native = flavor_of(model).predictor(model, signature)
    more = probes(holdout, signature)
    both = Batch(np.concatenate([holdout.numbers, more.numbers]), np.concatenate([holdout.texts, more.texts]))
    try:
        return Answered(both, native.predict(both), len(holdout))
    except Exception:
        try:
            return Answered(holdout, native.predict(holdout), len(holdout))
        except Exception as error:
            raise Invalid(
                "the model does not answer its held-out rows", f"{type(error).__name__}: {error}", ""
            ) from error


def proven(model: Any, signature: Signature, asked: Answered) -> tuple[bytes | None, Proof]:
    """Compile, and compare; from a template first, converted whole where that is not equal.

    Returns:
        The graph, ``None`` where none is equal to the original; and the proof, which says why.
    """
    rows, expected = asked.rows, asked.all_scores
    if not len(rows):
        return None, Proof(0, None, TOLERANCE, "there were no held-out rows to prove a compiled model on")
    if signature.task == "other":
        return None, Proof(0, None, TOLERANCE, "what it answers is not numbers, which a compiled model gives")
    flavor = flavor_of(model)
    scale = float(np.nanstd(expected)) or 1.0 if signature.task == "regression" else 1.0
    reason, difference = "", None
    for template in (True, False):
        try:
            graph = flavor.compile(model, signature, template=template)
            answers = CompiledPredictor(graph).predict(rows)
        except Invalid as error:
            reason = f"{error.what}: {error.why}"
            continue
        except Exception as error:
            reason = "the compiled model does not run: " + " ".join(str(error).split())[:300]
            continue
        difference = float(np.max(np.abs(answers - expected))) / scale
        if difference <= TOLERANCE:
            return graph, Proof(len(rows), difference, TOLERANCE)
        reason = f"the compiled model differs by {difference:.2g} on held-out rows, more than {TOLERANCE:g}"
    return None, Proof(len(rows), difference, TOLERANCE, reason)


def stored(
    model: Any,
    signature: Signature,
    graph: bytes | None,
    proof: Proof,
    artifacts: Artifacts,
    *,
    code: str,
    environment: str,
    reference: bytes | None,
) -> Package:
    """Store what a package consists of; the arguments are those of `pack` and the results of `proven`.

    Raises:
        Invalid: the model cannot be stored.
    """
    flavor = flavor_of(model)
    return Package(
        signature=signature,
        flavor=flavor.name,
        native=artifacts.put(flavor.dump(model, signature)),
        compiled=None if graph is None else artifacts.put(graph),
        proof=proof,
        reference=None if reference is None else artifacts.put(reference),
        environment=environment,
        code=code,
    )


def load(package: Package, artifacts: Artifacts) -> Predictor:
    """A packed model, ready to answer: compiled where it was proven, native otherwise.

    Raises:
        NotFound: a blob is missing.
        Invalid: a blob was tampered with.
        NotReady: this environment cannot load the model.
    """
    if package.compiled is not None:
        return CompiledPredictor(artifacts.get(package.compiled))
    flavor = FLAVORS[package.flavor]
    content = artifacts.get(package.native)
    try:
        return flavor.predictor(flavor.load(content), package.signature)
    except (ImportError, AttributeError) as error:
        raise NotReady(
            "the model cannot be loaded in this environment", str(error),
            f"install what it was made with: artifact {package.environment} lists it",
        ) from error  # fmt: skip


def probes(batch: Batch, signature: Signature) -> Batch:
    """Held-out rows made difficult: missing where that is allowed, unseen categories, extremes; shape (<= 4, ...)."""
    if not len(batch):
        return batch
    numbers, texts = np.repeat(batch.numbers[:1], 4, axis=0), np.repeat(batch.texts[:1], 4, axis=0)
    nullable = [field.nullable for field in signature.inputs if field.kind is not Kind.TEXT]
    numbers[0, nullable] = np.nan
    there = np.isfinite(batch.numbers)
    known = there.any(axis=0)
    numbers[2, known] = np.min(batch.numbers, axis=0, initial=np.inf, where=there)[known]
    numbers[3, known] = np.max(batch.numbers, axis=0, initial=-np.inf, where=there)[known]
    texts[1, :] = _UNSEEN
    texts[0, :] = ""
    return Batch(numbers, texts)
