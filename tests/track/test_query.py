"""The search language: what it reads, where it points when it cannot, and what it finds on both ledgers."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelworks.core.errors import Invalid
from modelworks.stores import Stores
from modelworks.track import book, look
from modelworks.track.entry import Entry
from modelworks.track.query.grammar import parse
from modelworks.track.query.words import Both, Compare, Field, Not, Order

from .conftest import NOW

START = int(NOW.timestamp() * 1e6)
DAY = 86_400_000_000
RUNS = [
    # name, params, metrics, tags, started this many days before now, lasting seconds
    ("tree", {"depth": 6, "kind": "xgb"}, {"auc": 0.9, "val/loss": 0.1}, {"team": "a"}, 5, 10.0),
    ("tree", {"depth": 3, "kind": "xgb"}, {"auc": 0.8}, {"team": "b"}, 4, 600.0),
    ("line", {"C": 0.1, "kind": "logistic", "bias": True}, {"auc": 0.7, "val/loss": 0.4}, {}, 3, 3600.0),
    ("line", {"C": "auto"}, {"auc": float("nan")}, {"team": "a"}, 2, None),
    ("it's", {"depth": "6"}, {}, {}, 1, 5.0),
]
IDS = [f"{n:026x}" for n in range(len(RUNS))]


def filled(stores: Stores) -> None:
    entries = []
    for identifier, (name, params, metrics, tags, days, lasted) in zip(IDS, RUNS, strict=True):
        begun = START - days * DAY
        said = {key: "NaN" if value != value else value for key, value in metrics.items()}
        entries.append(Entry(identifier, begun, name=name, params=params, metrics=said, tags=tags,
                             experiment="first" if name == "tree" else None))  # fmt: skip
        if lasted is not None:
            entries.append(Entry(identifier, begun + int(lasted * 1e6), status="done"))
    with stores.ledger.write() as db:
        book.enter(db, entries)


CASES = [
    ("", [4, 3, 2, 1, 0]),
    ("metrics.auc > 0.75", [1, 0]),
    ("metrics.auc >= 0.8 and params.depth = 6", [0]),
    ("METRICS.auc >= .8 AND params.depth == 6", [0]),
    ("params.depth = 6", [4, 0]),
    ("params.depth = '6'", [4, 0]),
    ("params.depth != 6", [1]),
    ("params.C != 3", [3, 2]),
    ("params.C = 'auto'", [3]),
    ("params.C <= 1e-1", [2]),
    ("params.bias = true", [2]),
    ("params.kind in ('xgb', 'logistic')", [2, 1, 0]),
    ("params.kind not in ('xgb')", [4, 3, 2]),
    ("params.depth in (3, 'x')", [1]),
    ("params.kind like 'x%'", [1, 0]),
    ("params.kind like 'X_B'", [1, 0]),
    ("params.kind not like 'x%'", [4, 3, 2]),
    ("metrics.`val/loss` < 0.2", [0]),
    ("metrics.val/loss < 0.2 or metrics.auc < 0.75", [2, 0]),
    ("metrics.auc is null", [4]),
    ("metrics.auc is not null", [3, 2, 1, 0]),
    ("not metrics.auc > 0.75", [4, 3, 2]),
    ("not (metrics.auc > 0.75 or tags.team = 'a')", [4, 2]),
    ("tags.team = 'a' or tags.team = 'b' and params.depth = 3", [3, 1, 0]),
    ("(tags.team = 'a' or tags.team = 'b') and params.depth = 3", [1]),
    ("name = 'it''s'", [4]),
    ('name = "it\'s"', [4]),
    ("name != 'tree'", [4, 3, 2]),
    ("name like '%E'", [3, 2, 1, 0]),
    ("status = 'running'", [3]),
    ("status in ('done', 'failed') limit 2", [4, 2]),
    ("experiment = 'first'", [1, 0]),
    ("duration > 5m", [2, 1]),
    ("duration < 10.5", [4, 0]),
    ("not duration > 5m", [4, 3, 0]),
    ("started > now - 3d", [4, 3]),
    ("started >= now -3d", [4, 3, 2]),
    ("started < '2026-01-06'", [0]),
    ("ended is null", [3]),
    ("parent is null limit 1", [4]),
    (f"id = '{IDS[2]}'", [2]),
    ("order by metrics.auc", [2, 1, 0, 4, 3]),
    ("order by metrics.auc desc", [0, 1, 2, 4, 3]),
    ("order by metrics.auc desc limit 2", [0, 1]),
    ("name = 'tree' order by params.depth", [1, 0]),
    ("order by params.kind, metrics.auc", [2, 1, 0, 4, 3]),
    ("order by params.C", [2, 3, 4, 1, 0]),
    ("order by name, started desc", [4, 3, 2, 1, 0]),
    ("order by name desc, metrics.auc asc", [1, 0, 2, 3, 4]),
    ("order by duration desc limit 2", [2, 1]),
    ("metrics.nothing > 0", []),
]


def test_what_queries_find(both: Stores) -> None:
    filled(both)
    found = {text: [IDS.index(run["id"]) for run in look.find(both, text, NOW)] for text, _ in CASES}
    assert found == dict(CASES)


def test_what_is_read() -> None:
    query = parse(
        "metrics.auc > 0.8 and not params.x = 'a' or status = \"done\" order by started desc limit 3", NOW
    )
    auc = Compare(Field("metrics", "auc"), ">", (0.8,))
    x = Not(Compare(Field("params", "x"), "=", ("a",)))
    assert query.where == Both("or", Both("and", auc, x), Compare(Field("", "status"), "=", ("done",)))
    assert query.order == (Order(Field("", "started"), descending=True),)
    assert query.limit == 3
    spans = parse("duration > 2h and started > now - 1w", NOW).where
    assert isinstance(spans, Both)
    assert spans.left == Compare(Field("", "duration"), ">", (7200.0,))
    assert spans.right == Compare(Field("", "started"), ">", (NOW - timedelta(weeks=1),))


@pytest.mark.parametrize(
    ("text", "at", "wanted"),
    [
        ("metrics.auc >", 14, "a value"),
        ("metrics.auc 0.8", 13, "=, !=, <"),
        ("auc > 0.8", 1, "a field: params.NAME"),
        ("metrics. > 3", 9, "a name after 'metrics.'"),
        ("metrics.auc > 'high'", 15, "a number"),
        ("tags.team = 3", 13, "a text in quotes"),
        ("status = done", 10, "a value"),
        ("started > 'soon'", 11, "a moment"),
        ("started > 3", 11, "a moment"),
        ("(metrics.auc > 1", 17, "')'"),
        ("metrics.auc > 1)", 16, "'and', 'or'"),
        ("metrics.auc > 1 limit many", 23, "a whole number"),
        ("metrics.auc > 1 order metrics.auc", 23, "'by'"),
        ("metrics.auc > 1 and", 20, "a field"),
        ("name like 3", 11, "a text in quotes"),
        ("name = 'open", 8, "a field, a value or a sign"),
        ("name = 1; drop table runs", 9, "a field, a value or a sign"),
        ("params.x not = 3", 14, "'like' or 'in'"),
        ("(" * 200, 101, "no more than 100"),
    ],
)
def test_an_error_points_at_the_place(text: str, at: int, wanted: str) -> None:
    with pytest.raises(Invalid) as raised:
        parse(text, NOW)
    assert f"at character {at}:" in raised.value.what
    assert wanted in raised.value.what
    _, line, arrow = raised.value.why.split("\n")
    assert arrow.index("^") - 2 == min(at - 1, 60)
    assert line


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.text(alphabet="metricspandor.<>=!'\"`()0123456789 \n,-%_é", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    refused = ""
    try:
        parse(text, NOW)
    except Invalid as error:
        refused = error.what
    assert not refused or re.search(r"at character \d+", refused)


def test_a_value_is_never_sql(both: Stores) -> None:
    filled(both)
    with pytest.raises(Invalid):
        look.find(both, "name = '' or 1 = 1", NOW)
    assert look.find(both, "name = '''; drop table runs; --'", NOW) == []
    assert look.find(both, "params.`x'; drop table runs; --` = '1'", NOW) == []
    assert len(look.find(both, "", NOW)) == len(RUNS)
