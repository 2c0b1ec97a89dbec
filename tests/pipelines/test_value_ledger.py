"""The value ledger's sums over models."""

from __future__ import annotations

from typing import Any

from modelworks.pipelines.value import _factory


def model(earned: float, low: float | None, high: float | None) -> dict[str, Any]:
    return {
        "model": "a",
        "unit": "EUR",
        "earned": earned,
        "earned_low": low,
        "earned_high": high,
        "cost": 0.0,
        "verdict": "",
    }


def test_of_a_sum_with_a_part_that_is_not_known_well_no_interval_is_told() -> None:
    told = _factory([model(100.0, 90.0, 110.0), model(50.0, None, None)], {}, 1.0)
    assert told["earned"] == [{"unit": "EUR", "models": 2, "earned": 150.0, "low": None, "high": None}]
    (both,) = _factory([model(100.0, 90.0, 110.0), model(50.0, 45.0, 55.0)], {}, 1.0)["earned"]
    assert (both["low"], both["high"]) == (150 - 125**0.5, 150 + 125**0.5)
