"""Every combination, a few values of each number; the first parameter changes slowest."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from modelworks.train.searchers.port import Choice, Params, Space, Span, Trial

_STEPS = 5
"""Values of a number that are tried, evenly apart."""


def suggest(space: Space, past: Sequence[Trial], numbers: Sequence[int], seed: int) -> Sequence[Params]:
    """See `Searcher`. What was tried already, by whomever, is not tried again."""
    values = {name: _values(domain) for name, domain in space.items()}
    total = prod(map(len, values.values()))
    tried = [dict(trial.params) for trial in past]
    found: list[Params] = []
    for place in range(total):
        if len(found) == len(numbers):
            break
        params = _at(values, place)
        if params not in tried:
            found.append(params)
    return found


def _at(values: dict[str, Sequence[Any]], place: int) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for name, each in reversed(values.items()):
        place, position = divmod(place, len(each))
        params[name] = each[position]
    return {name: params[name] for name in values}


def _values(domain: Choice | Span) -> Sequence[Any]:
    if isinstance(domain, Choice):
        return domain.values
    return list(dict.fromkeys(domain.at(step / (_STEPS - 1)) for step in range(_STEPS)))
