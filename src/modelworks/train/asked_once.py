"""What scikit-learn asks of classes again with every fit, asked once while a worker fits hundreds of models.

A fifth of a small pipeline's fit goes into questions whose answers never change: the names of a constructor's
parameters, whether a class speaks narwhals' protocol, whether ``max_iter=200`` is allowed. Here the answers are kept,
under keys that hold whatever the answer depends on, so that a fit gives the same bits and the same errors as without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

_MOST = 10_000
"""Answers kept of one question."""
_PLAIN = frozenset({str, int, float, bool, type(None)})

Question = Callable[..., Any]


@contextmanager
def asked_once() -> Iterator[None]:
    """While it is open, this process keeps the answers; where a library asks otherwise, nothing is changed."""
    replaced: list[tuple[Any, str, Any]] = []
    try:
        for module, owner, name, keeping in _QUESTIONS:
            try:
                holder: Any = import_module(module)
            except ImportError:
                continue
            holder = getattr(holder, owner, None) if owner else holder
            before = vars(holder).get(name) if holder is not None else None
            if before is not None:
                replaced.append((holder, name, before))
                setattr(holder, name, _kept.setdefault(before, keeping(before)))
        yield
    finally:
        for holder, name, before in reversed(replaced):
            setattr(holder, name, before)


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
            return ask(constraints, params, caller_name=caller_name)
        # 1, 1.0 and True are the same to a dictionary, and not to a constraint.
        key = id(constraints), caller_name, tuple(params.items()), tuple(map(type, params.values()))
        if key not in allowed:
            ask(constraints, params, caller_name=caller_name)
            _room(allowed)
            allowed[key] = constraints  # which holds it, so that no other gets its id
        return None

    return asked


def _room(answers: dict[Any, Any]) -> None:
    if len(answers) >= _MOST:
        answers.clear()


_QUESTIONS: tuple[tuple[str, str, str, Callable[[Any], Any]], ...] = (
    ("narwhals._utils", "", "_hasattr_static", _static),
    ("sklearn.base", "BaseEstimator", "_get_param_names", _names),
    ("sklearn.base", "", "validate_parameter_constraints", _allowed),
)
