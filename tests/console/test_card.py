"""Model cards: what they say is so, whatever they are made of cannot become markup, and they need nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from modelworks.console import figures
from modelworks.console.card import page
from modelworks.core.plain import plain
from modelworks.factory import Factory

EVIL = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def told(trained: Path) -> dict[str, Any]:
    with Factory(trained) as factory:
        facts: dict[str, Any] = plain(factory.card("diagnosis@1"))
    return facts


def test_its_facts_are_those_of_the_rows(trained: Path, told: dict[str, Any]) -> None:
    import polars as pl

    rows = pl.read_csv(trained / "data" / "tumours.csv", try_parse_dates=True).sort("taken")
    assert told["looked"] == ""
    assert (told["data"]["trained"], told["data"]["held_out"]) == (455, 114)
    learned, held = rows.head(455), rows.tail(114)
    radius = next(one for one in told["inputs"] if one["name"] == "radius")
    assert radius["seen"]["quantiles"][0] == pytest.approx(learned["radius"].min())
    assert radius["seen"]["quantiles"][4] == pytest.approx(learned["radius"].max())
    assert sum(radius["seen"]["counts"]) == 455
    smoothness = next(one for one in told["inputs"] if one["name"] == "smoothness")
    low, high = learned["smoothness"].min(), learned["smoothness"].max()
    assert smoothness["outside"] == held.filter(~pl.col("smoothness").is_between(low, high)).height
    with Factory(trained) as factory:
        answers = factory.predict("diagnosis", held.drop("malignant", "sample", "taken").to_dicts())
    p = [
        one["output"]["1"] if isinstance(one["output"], dict) else one["output"]
        for one in plain(answers)["predictions"]
    ]
    assert told["metrics"]["log_loss"]["value"] == pytest.approx(log_loss(held["malignant"], p), abs=1e-5)
    assert told["metrics"]["roc_auc"]["value"] == pytest.approx(roc_auc_score(held["malignant"], p), abs=1e-6)
    for one in told["metrics"].values():
        assert one["recorded"] == pytest.approx(one["value"], abs=1e-4)
        assert one["interval"][0] < one["value"] < one["interval"][1]
    assert (
        sum(one["rows"] for one in told["calibration"]["bins"]) == 114 == sum(told["calibration"]["spread"])
    )
    assert told["deployment"]["champion"]
    assert [one["gate"] for one in told["verdicts"]] == ["AtLeast(roc_auc)", "BeatsChampion(log_loss)"]


def test_both_forms_say_the_same(told: dict[str, Any]) -> None:
    text, html = page(told, "md"), page(told, "html")
    for said in ("diagnosis", "455", "log_loss", "0.987", "reaches the floor of 0.9"):
        assert said in html
        assert said in text.replace("\\", "")
    assert all(sentence in html.replace("&#39;", "'") for sentence in told["limits"])
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table if "radius" in line or "texture" in line}) == 1
    assert "\n\n\n" not in text


def test_a_page_needs_nothing_from_outside(told: dict[str, Any]) -> None:
    html = page(told, "html")
    assert not re.search(r"""(src|href)=|url\(|@import|<script""", html)
    assert "default-src 'none'" in html


def _spoilt(value: Any) -> Any:
    """Every text of the facts with markup in it, but those that are read as moments or digests."""
    if isinstance(value, dict):
        kept = {"created", "newest", "first", "until", "last", "started", "ended", "at", "digest", "served"}
        return {key: one if key in kept else _spoilt(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_spoilt(one) for one in value]
    return value + EVIL if isinstance(value, str) else value


def test_what_people_wrote_is_never_markup(told: dict[str, Any]) -> None:
    spoilt = _spoilt(told) | {"looked": "", "labels": {f"owner{EVIL}": EVIL}}
    html, text = page(spoilt, "html"), page(spoilt, "md")
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 20
    assert not re.search(r"(?<!\\)<script", re.sub(r"`[^`]*`", "", text))


def test_a_version_of_which_nothing_is_known_has_a_card_too(told: dict[str, Any]) -> None:
    bare = told | {
        "looked": "the rows are not kept any more", "data": {}, "metrics": {}, "slices": [], "calibration": None,
        "inputs": [one | {"seen": None, "outside": None} for one in told["inputs"]], "verdicts": [], "value": None,
        "environment": {"digest": "", "packages": {}}, "code": {"digest": "", "text": ""},
    }  # fmt: skip
    assert "rows are not kept any more" in page(bare, "html")
    assert "No gate judged it" in page(bare, "md")


def test_pictures_are_well_formed() -> None:
    row = {"value": 0.3, "interval": [0.2, 0.4], "beside": None}
    low, high = figures.scale([row, {"value": None, "interval": None, "beside": None}])
    bins = [{"rows": 10, "predicted": 0.0, "happened": 0.0}, {"rows": 1, "predicted": 1.0, "happened": 1.0}]
    for picture in (
        figures.histogram([0, 3, 5]),
        figures.histogram([]),
        figures.whisker(row, low, high, 0.3),
        figures.reliability(bins, [10] + [0] * 18 + [1]),
        figures.reliability([], []),
    ):
        ElementTree.fromstring(picture)
        assert "nan" not in picture


def test_over_http_it_is_a_page_or_markdown_or_facts(server: str) -> None:
    html = httpx.get(f"{server}/api/card.html", params={"ref": "diagnosis@1"})
    assert html.headers["content-type"].startswith("text/html")
    assert html.headers["content-security-policy"].startswith("default-src 'none'")
    text = httpx.get(f"{server}/api/card.md", params={"ref": "diagnosis@1"})
    assert text.text.startswith("# diagnosis@1")
    facts = httpx.get(f"{server}/api/card", params={"ref": "diagnosis@1"}).json()
    assert facts["ref"] == "diagnosis@1"
    assert json.dumps(facts, allow_nan=False)
    assert httpx.get(f"{server}/api/card.html", params={"ref": "nothing@1"}).status_code == 404
    assert httpx.get(f"{server}/api/card.exe", params={"ref": "diagnosis@1"}).status_code == 400
