"""What scikit-learn asks of classes again with every fit, asked once while a worker fits hundreds of models.

A fifth of a small pipeline's fit goes into questions whose answers never change: the names of a constructor's
parameters, whether a class speaks narwhals' protocol, whether ``max_iter=200`` is allowed. Here the answers are kept,
under keys that hold whatever the answer depends on, so that a fit gives the same bits and the same errors as without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_MOST = 10_000
"""Answers kept of one question."""
_PLAIN = frozenset({str, int, float, bool, type(None)})

Question = Callable[..., Any]


@contextmanager
def asked_once() -> Iterator[None]:
    """While it is open, this process keeps the answers; versions of the libraries not tried so are left alone."""
    replaced: list[tuple[Any, str, Any]] = []
    try:
        for library, (tried, questions) in _QUESTIONS.items():
            if not _is_tried(library, tried):
                continue
            for place, name, keeping in questions:
                module, _, owner = place.partition(":")
                holder: Any = import_module(module)
                holder = getattr(holder, owner) if owner else holder
                before = vars(holder)[name]
                if before not in _kept:
                    _kept[before] = keeping(before)
                replaced.append((holder, name, before))
                setattr(holder, name, _kept[before])
        yield
    finally:
        for holder, name, before in reversed(replaced):
            setattr(holder, name, before)


@cache
def _is_tried(library: str, tried: str) -> bool:
    try:
        return version(library).startswith(tried)
    except PackageNotFoundError:
        return False


_kept: dict[Any, Any] = {}
"""For each question, the one that remembers."""


def _static(ask: Question) -> Question:
    """Whether an object has an attribute, without calling anything: its class decides, or its own dictionary."""
    answers: dict[Any, bool] = {}

    def asked(thing: Any, name: str) -> Any:
        if isinstance(thing, type) or name in getattr(thing, "__dict__", ()):
            return ask(thing, name)
        key = type(thing), name
        if key not in answers:
            _room(answers)
            answers[key] = ask(thing, name)
        return answers[key]

    return asked


def _names(ask: Any) -> Any:
    """The parameters of a class, which those of its constructor are."""
    answers: dict[Any, list[str]] = {}

    def asked(cls: type) -> list[str]:
        key: Any = cls.__init__  # type: ignore[misc]
        if key not in answers:
            _room(answers)
            answers[key] = ask.__func__(cls)
        return list(answers[key])

    return classmethod(asked)


def _allowed(ask: Question) -> Question:
    """Whether parameters are allowed; only plain values can be told to be the same again."""
    allowed: dict[Any, Any] = {}

    def asked(constraints: Any, params: dict[str, Any], caller_name: str) -> None:
        if not _PLAIN.issuperset(map(type, params.values())):
            ask(constraints, params, caller_name=caller_name)
            return
        # 1, 1.0 and True are the same to a dictionary, and not to a constraint.
        key = id(constraints), caller_name, tuple(params.items()), tuple(map(type, params.values()))
        if key not in allowed:
            ask(constraints, params, caller_name=caller_name)
            _room(allowed)
            allowed[key] = constraints  # which holds it, so that no other gets its id

    return asked


def _protocol(ask: Question) -> Question:
    """Whether a thing is a frame, or a series, of some library: its class decides, or its own dictionary."""
    answers: dict[type, bool] = {}

    def asked(thing: Any) -> Any:
        kind = type(thing)
        answer = answers.get(kind)
        if answer is not None and not any(name.startswith("__n") for name in getattr(thing, "__dict__", ())):
            return answer
        _room(answers)
        answers[kind] = ask(thing)
        return answers[kind]

    return asked


def _of_type(ask: Question) -> Question:
    """What follows from the type of a column."""
    answers: dict[Any, Any] = {}

    def asked(kind: Any) -> Any:
        if kind not in answers:
            _room(answers)
            answers[kind] = ask(kind)
        return answers[kind]

    return asked


def _selected(ask: Question) -> Question:
    """Columns of a frame by name: an index never changes, so that its places need be looked up only once."""
    from pandas import DataFrame, Index

    places: dict[Any, tuple[Any, Any]] = {}

    def asked(frame: Any, key: Any, key_dtype: Any, axis: int) -> Any:
        if axis != 1 or key_dtype != "str" or type(key) is not list or type(frame) is not DataFrame:
            return ask(frame, key, key_dtype, axis)
        names = frame.columns
        question = id(names), tuple(key)
        if question not in places:
            found = names.get_indexer(Index(key, dtype=object)) if names.is_unique else None
            if found is None or (found < 0).any():
                return ask(frame, key, key_dtype, axis)
            _room(places)
            places[question] = found, names  # which holds the index, so that no other gets its id
        return frame.take(places[question][0], axis=1)

    return asked


def _room(answers: dict[Any, Any]) -> None:
    if len(answers) >= _MOST:
        answers.clear()


_QUESTIONS: dict[str, tuple[str, tuple[tuple[str, str, Callable[[Any], Any]], ...]]] = {
    "narwhals": (
        "2.",
        (
            ("narwhals._utils", "_hasattr_static", _static),
            ("narwhals.stable.v2.dependencies", "is_into_dataframe", _protocol),
            ("narwhals.stable.v2.dependencies", "is_into_series", _protocol),
        ),
    ),
    "scikit-learn": (
        "1.9.",
        (
            ("sklearn.base:BaseEstimator", "_get_param_names", _names),
            ("sklearn.base", "validate_parameter_constraints", _allowed),
            ("sklearn.utils._array_api", "is_df_or_series", _protocol),
            ("sklearn.utils._indexing", "_pandas_indexing", _selected),
            ("sklearn.utils.validation", "_pandas_dtype_needs_early_conversion", _of_type),
        ),
    ),
}
"""By library: the versions with which this was tried, and where which questions are asked."""
