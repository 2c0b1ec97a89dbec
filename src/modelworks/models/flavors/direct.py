"""scikit-learn pipelines without frames: the fitted parts are called on arrays.

Most of what a small pipeline's answer costs is not computing but finding columns by name and checking names, again
in each part. A pipeline says once and for all which columns go where: so they are looked up when the predictor is
made, and an answer is nothing but the `transform` and `predict` of the fitted parts. What is not understood has no
direct form; and a form is only used after it gave exactly the answer of the whole (see `NativePredictor`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelworks.core.batch import Batch
from modelworks.models.signature import Signature

Call = Callable[[Any], Any]
_SIMPLE = frozenset({str, int, float, bool, type(None), np.ndarray, np.float64, np.dtype})
"""What surely has no parts."""


@dataclass(frozen=True)
class Direct:
    """A pipeline as calls on arrays.

    Attributes:
        answer: From a batch to what `predict_proba` or `predict` gives.
        structure: What two pipelines share whose parts are called alike; hashable.
    """

    answer: Callable[[Batch], npt.NDArray[Any]]
    structure: tuple[Any, ...]


class _Unknown(Exception):  # noqa: N818 - a finding, not a fault
    """A part that may need more than an array."""


def direct(model: Any, signature: Signature) -> Direct | None:
    """The direct form of a fitted estimator, ``None`` where there is none."""
    import sklearn

    if sklearn.get_config()["transform_output"] != "default":
        return None
    structure: list[Any] = [signature.numbers, signature.texts, signature.task]
    method = "predict" if signature.task == "regression" else "predict_proba"
    try:
        *before, last = [step for _, step in model.steps] if _named(model, "Pipeline") else [model]
        first: Callable[[Batch], Any]
        if before and _named(before[0], "ColumnTransformer"):
            first = _columns(before.pop(0), signature, structure)
        elif signature.texts:
            return None
        else:
            first = _numbers
        calls = [_transform(part, structure) for part in before]
        calls.append(getattr(_nameless(last, structure), method))
    except _Unknown:
        return None

    def answer(batch: Batch) -> npt.NDArray[Any]:
        rows = first(batch)
        for call in calls:
            rows = call(rows)
        return np.asarray(rows)

    return Direct(answer, tuple(structure))


def _numbers(batch: Batch) -> npt.NDArray[np.float64]:
    return batch.numbers.astype(np.float64)


def _columns(part: Any, signature: Signature, structure: list[Any]) -> Callable[[Batch], Any]:
    """A ColumnTransformer: each transformer on its columns, the results side by side.

    Raises:
        _Unknown: columns are not given by name, or numbers and texts go together.
    """
    from scipy import sparse

    if part.transformer_weights or "_sklearn_output_config" in vars(part):
        raise _Unknown
    parts: list[tuple[str, npt.NDArray[np.intp], Call]] = []
    for _, transformer, columns in part.transformers_:
        if isinstance(transformer, str) and transformer == "drop":
            continue
        if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
            raise _Unknown
        if not columns:
            continue
        kind, names = next(
            (
                (kind, names)
                for kind, names in (("numbers", signature.numbers), ("texts", signature.texts))
                if set(columns) <= set(names)
            ),
            ("", ()),
        )
        if not kind:
            raise _Unknown
        structure.append(tuple(columns))
        parts.append(
            (kind, np.array([names.index(column) for column in columns]), _transform(transformer, structure))
        )
    if not parts:
        raise _Unknown
    sparsely = bool(part.sparse_output_)
    structure.append(sparsely)

    def call(batch: Batch) -> Any:
        given = {"numbers": _numbers(batch), "texts": batch.texts}
        made = [transform(given[kind][:, places]) for kind, places, transform in parts]
        if sparsely:
            return sparse.hstack(made).tocsr()
        return np.hstack([some.toarray() if sparse.issparse(some) else some for some in made])

    return call


def _transform(part: Any, structure: list[Any]) -> Call:
    """What a transformer, or a pipeline of them, does to an array.

    Raises:
        _Unknown: see `_nameless`.
    """
    if part is None or (isinstance(part, str) and part == "passthrough"):
        structure.append("passthrough")
        return lambda rows: rows
    if not _named(part, "Pipeline"):
        transform: Call = _nameless(part, structure).transform
        return transform
    calls = [_transform(step, structure) for _, step in part.steps]

    def call(rows: Any) -> Any:
        for transform in calls:
            rows = transform(rows)
        return rows

    return call


def _nameless(part: Any, structure: list[Any]) -> Any:
    """A fitted estimator that does not miss the names of its columns.

    Raises:
        _Unknown: it is not scikit-learn's own, calls somebody's function, gives frames, or has parts of its own
            that know names.
    """
    kind = type(part)
    state = vars(part) if hasattr(part, "__dict__") else {}
    if not kind.__module__.startswith("sklearn.") or "_sklearn_output_config" in state:
        raise _Unknown
    for value in state.values():
        if type(value) in _SIMPLE:
            continue
        inside: Sequence[Any] = value if isinstance(value, list | tuple) else (value,)
        if any(hasattr(one, "feature_names_in_") or _named(one, "ColumnTransformer") for one in inside):
            raise _Unknown
    if kind.__name__ == "FunctionTransformer" and part.func is not None:
        raise _Unknown
    structure.append(kind)
    part = copy.copy(part)
    vars(part).pop("feature_names_in_", None)
    return part


def _named(part: Any, name: str) -> bool:
    """Whether a part is scikit-learn's own class of that name, which need not be imported to be told."""
    return type(part).__name__ == name and type(part).__module__.startswith("sklearn.")
