"""Packing a fitted model: store the original, compile it, prove the two equal; and loading it again."""

from __future__ import annotations

from collections.abc import Iterator
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
_PROBED = 32
"""Held-out rows of which difficult ones are made."""


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
    refused: Exception | None = None
    for more in (*_offered(holdout, signature), None):
        rows = holdout if more is None else _joined(holdout, more)
        try:
            return Answered(rows, native.predict(rows), len(holdout))
        except Exception as error:
            refused = error
    raise Invalid(
        "the model does not answer its held-out rows", f"{type(refused).__name__}: {refused}", ""
    ) from refused


def _offered(holdout: Batch, signature: Signature) -> Iterator[Batch]:
    """Probes; then those with texts as they were, and those with numbers as they were, for a model that is strict."""
    more = probes(holdout, signature)
    yield more
    if signature.numbers and signature.texts and len(more):
        like = np.arange(len(more)) % len(holdout)
        yield Batch(more.numbers, holdout.texts[like])
        yield Batch(holdout.numbers[like], more.texts)


def _joined(one: Batch, other: Batch) -> Batch:
    return Batch(np.concatenate([one.numbers, other.numbers]), np.concatenate([one.texts, other.texts]))


def proven(model: Any, signature: Signature, asked: Answered) -> tuple[bytes | None, Proof]:
    """Compile, and compare; from a template first, converted whole where that is not equal.

    Returns:
        The graph, ``None`` where none is equal to the original; and the proof, which says why.
    """
    graph, _, proof = proven_and_open(model, signature, asked)
    return graph, proof


def proven_and_open(
    model: Any, signature: Signature, asked: Answered
) -> tuple[bytes | None, CompiledPredictor | None, Proof]:
    """The same as `proven`, with the graph as it was opened to compare it."""
    rows, expected = asked.rows, asked.all_scores
    if not len(rows):
        return (
            None,
            None,
            Proof(0, None, TOLERANCE, "there were no held-out rows to prove a compiled model on"),
        )
    if signature.task == "other":
        return (
            None,
            None,
            Proof(0, None, TOLERANCE, "what it answers is not numbers, which a compiled model gives"),
        )
    flavor = flavor_of(model)
    scale = float(np.nanstd(expected)) or 1.0 if signature.task == "regression" else 1.0
    reason, difference = "", None
    for template in (True, False):
        try:
            graph = flavor.compile(model, signature, template=template)
            predictor = CompiledPredictor(graph)
            answers = predictor.predict(rows)
        except Invalid as error:
            reason = f"{error.what}: {error.why}"
            continue
        except Exception as error:
            reason = "the compiled model does not run: " + " ".join(str(error).split())[:300]
            continue
        difference = float(np.max(np.abs(answers - expected))) / scale
        if difference <= TOLERANCE:
            return graph, predictor, Proof(len(rows), difference, TOLERANCE)
        reason = f"the compiled model differs by {difference:.2g} on held-out rows, more than {TOLERANCE:g}"
    return None, None, Proof(len(rows), difference, TOLERANCE, reason)


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
    rows: str = "",
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
        rows=rows,
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
    if package.kept:
        raise NotReady("the model is kept as it came, and cannot be served", package.proof.reason, "")
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
    """Held-out rows made difficult: values missing where that is allowed, unseen categories, extremes.

    A few rows all of whose values are so, then up to `_PROBED` in which a value here and there is; no chance is
    in it, so that a model has one proof.

    Returns:
        Shape (4 + min(rows, `_PROBED`), ...), none for no rows.
    """
    if not len(batch):
        return batch
    some = batch.take(np.linspace(0, len(batch) - 1, min(len(batch), _PROBED)).astype(int))
    numbers = np.concatenate([np.repeat(batch.numbers[:1], 4, axis=0), some.numbers])
    texts = np.concatenate([np.repeat(batch.texts[:1], 4, axis=0), some.texts])
    nullable = np.array(
        [field.nullable for field in signature.inputs if field.kind is not Kind.TEXT], dtype=bool
    )
    there = np.isfinite(batch.numbers)
    known = there.any(axis=0)
    least = np.min(batch.numbers, axis=0, initial=np.inf, where=there)
    most = np.max(batch.numbers, axis=0, initial=-np.inf, where=there)
    numbers[0, nullable] = np.nan
    numbers[2, known], numbers[3, known] = least[known], most[known]
    texts[0, :], texts[1, :] = "", _UNSEEN
    # Column by column the changed rows lie elsewhere, so that what is changed meets what is not.
    turn = np.arange(len(some))[:, None]
    for values, column_of in (
        (numbers[4:], np.arange(numbers.shape[1])),
        (texts[4:], np.arange(texts.shape[1])),
    ):
        turns = (turn + column_of) % 7
        if values.dtype == object:
            values[turns == 0], values[turns == 1] = "", _UNSEEN
            continue
        values[(turns == 0) & nullable] = np.nan
        values[:] = np.where((turns == 1) & known, least, values)
        values[:] = np.where((turns == 2) & known, most, values)
        values[:] = np.where((turns == 3) & known, most + np.abs(most) + 1, values)
    return Batch(numbers, texts)
