"""Alerts of one cause are one incident, whatever order they come in; people look after it as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from modelworks.core.errors import Conflict, NotFound
from modelworks.monitor.alerting import Finding, Kind
from modelworks.monitor.alerts import listed, listed_incidents, mark, settle
from modelworks.monitor.channels.port import Notice, Told
from modelworks.monitor.incidents import Began, belongs
from modelworks.stores.ledger import Ledger
from modelworks.stores.ledger.tables import models

NOW = datetime(2024, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def began(
    model: str,
    kind: str,
    day: float,
    features: Sequence[str] = (),
    of: int | None = None,
    data: str = "flights",
) -> Began:
    return Began(model, data, kind, NOW + day * DAY, frozenset(features), of)


@pytest.mark.parametrize(
    ("new", "other", "one"),
    [
        (began("a", "performance", 1), began("a", "feature_drift", 0, ["wind"]), True),
        (began("b", "feature_drift", 1, ["wind", "rain"]), began("a", "feature_drift", 0, ["wind"]), True),
        (began("b", "feature_drift", 1, ["rain"]), began("a", "feature_drift", 0, ["wind"]), False),
        (began("b", "performance", 1), began("a", "performance", 0), True),
        (began("b", "performance", 1), began("a", "feature_drift", 0, ["wind"]), False),
        (began("b", "performance", 1), began("dataset:flights", "quarantine", 0), True),
        (began("dataset:flights", "stale", 1), began("a", "prediction_drift", 0), True),
        (began("b", "performance", 1, data="hotels"), began("a", "performance", 0), False),
        (began("a", "performance", 4), began("a", "feature_drift", 0, ["wind"]), False),
        (began("a", "silent_outcomes", 1), began("a", "performance", 0), False),
        (began("b", "volume", 1, data="hotels"), began("a", "volume", 0), True),
        (began("a", "rollout", 0), began("a", "rollout", 0), False),
        (Began("a", None, "performance", NOW), Began("a", None, "feature_drift", NOW), False),
    ],
)
def test_what_has_one_cause(new: Began, other: Began, one: bool) -> None:
    known = Began(other.model, other.dataset, other.kind, other.opened, other.features, 7)
    assert (belongs(new, [known]) == 7) == one


def test_an_incident_lasts_as_long_as_something_new_comes_within_days() -> None:
    chain = [began("a", "feature_drift", 2.0 * n, ["wind"], 1) for n in range(5)]
    assert belongs(began("b", "feature_drift", 10, ["wind"]), chain) == 1
    assert belongs(began("b", "feature_drift", 12, ["wind"]), chain) is None
    newer = began("b", "feature_drift", 9, ["wind"], 5)
    assert belongs(began("c", "feature_drift", 10, ["wind"]), [newer, *chain]) == 5


@pytest.fixture
def ledger(ledger_url: str, tmp_path: Path) -> Ledger:
    opened = Ledger(ledger_url or f"sqlite:///{tmp_path / 'ledger.db'}")
    rows = [
        {
            "name": name,
            "dataset": data,
            "features": [],
            "per": [],
            "definition": {},
            "code": "",
            "updated": NOW,
        }
        for name, data in (("a", "flights"), ("b", "flights"), ("c", "flights"), ("d", "hotels"))
    ]
    with opened.write() as db:
        db.execute(insert(models), rows)
    return opened


def drift(feature: str) -> Finding:
    return Finding((), "feature_drift", "warning", f"{feature} is other", {"features": {feature: 3}})


def opened(ledger: Ledger, model: str, *findings: Finding, day: float = 0.0) -> None:
    with ledger.write() as db:
        settle(db, model, findings, set(), NOW + day * DAY)


def test_what_many_models_see_of_the_same_data_is_told_once_and_looked_after_as_a_whole(
    ledger: Ledger,
) -> None:
    worse = Finding((), "performance", "critical", "a is worse", {})
    opened(ledger, "a", drift("wind"), worse)
    opened(ledger, "b", drift("wind"), day=1)
    opened(ledger, "c", drift("rain"), day=1)
    opened(ledger, "d", drift("wind"), day=1)
    kind: Kind = "quarantine"
    opened(ledger, "dataset:hotels", Finding((), kind, "warning", "rows of hotels are refused", {}), day=2)
    with ledger.read() as db:
        found = {one["message"]: one for one in listed_incidents(db, True, 10)}
    assert found.keys() == {"wind is other", "rain is other", "rows of hotels are refused"}
    wind, rain, hotels = (
        found[name] for name in ("wind is other", "rain is other", "rows of hotels are refused")
    )
    assert (wind["models"], wind["open"], wind["severity"]) == (["a", "b"], 3, "critical")
    assert (hotels["models"], hotels["open"]) == (["d"], 2)
    assert rain["models"] == ["c"]
    with ledger.write() as db:
        told = mark(db, wind["alerts"][1], True, {"acknowledged": NOW, "acknowledged_by": "Kim"})
        assert told["alerts"] == 3
        mark(db, hotels["alerts"][0], False, {"acknowledged": NOW, "acknowledged_by": "Kim"})
    with ledger.read() as db:
        seen = {one["message"]: one["acknowledged_by"] for one in listed_incidents(db, True, 10)}
        assert [one["id"] for one in listed(db, None, True, 10, wind["id"])] == wind["alerts"][::-1]
    assert seen == {"wind is other": "Kim", "rain is other": None, "rows of hotels are refused": None}
    # One of its alerts after the other is over; then the incident is.
    opened(ledger, "a", day=2)
    with ledger.read() as db:
        (going,) = [one for one in listed_incidents(db, True, 10) if one["id"] == wind["id"]]
        assert going["open"] == 1
    with ledger.write() as db:
        mark(db, wind["alerts"][2], True, {"closed": NOW + 3 * DAY})
        with pytest.raises(Conflict, match="is over"):
            mark(db, wind["alerts"][0], True, {"closed": NOW})
        with pytest.raises(NotFound):
            mark(db, 999, True, {"closed": NOW})
    with ledger.read() as db:
        assert wind["id"] not in {one["id"] for one in listed_incidents(db, True, 10)}
        (over,) = [one for one in listed_incidents(db, False, 10) if one["id"] == wind["id"]]
        assert over["closed"] == NOW + 3 * DAY
    ledger.close()


def test_a_thousand_alerts_of_a_cause_are_one_line_and_a_number() -> None:
    def told(number: int, incident: int) -> Told:
        return Told(
            number, "opened", f"m{number}", "", "feature_drift", "warning", f"m{number} drifts", NOW, incident
        )

    notice = Notice("0" * 26, "flights", [*(told(n, 1) for n in range(1, 1001)), told(1001, 1001)])
    assert notice.title == "[flights] 1001 alerts of 2 incidents"
    lines = notice.text.splitlines()
    assert lines[0] == "- warning: m1 drifts"
    assert "and 997 more of the same: modelworks alerts --incident 1" in notice.text
    assert lines[-1] == "- warning: m1001 drifts"
    assert len(lines) == 5
    as_data: dict[str, Any] = notice.to_json()
    assert as_data["alerts"][3]["incident"] == 1
