"""The demo of named entities: rules and a model in one product, and corrections that come back as outcomes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from modelworks.core.errors import Conflict
from modelworks.demos.folder import make
from modelworks.demos.ner.demo import SENTENCES, opened, run
from modelworks.factory import Factory


def test_the_demo_from_beginning_to_end(tmp_path: Path) -> None:
    told = run(tmp_path / "ner", exit_after=True, port=0, quiet=True)
    assert len(told.found) == len(SENTENCES)
    for sentence, entities in zip(SENTENCES, told.found, strict=True):
        assert entities
        assert all(sentence[one["start"] : one["end"]] == one["text"] for one in entities)
    assert ("Berlin", "GPE", "model") in {(one["text"], one["label"], one["by"]) for one in told.found[0]}
    assert {one["label"] for one in told.found[2] if one["by"] == "rule"} == {"EMAIL", "LINK"}
    assert told.corrected["corrected"] == [[13, 26, "PERSON"], [30, 36, "GPE"]]


def test_what_is_no_demo_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(Conflict, match="not this demo"):
        make(tmp_path, "modelworks.demos.ner.project")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Factory, str]]:
    with opened(tmp_path_factory.mktemp("demos") / "ner", 0, Console(quiet=True)) as (factory, server, page):
        yield factory, page
        server.stop()
        # Half of the product works without its model, and says what is missing.
        told = httpx.post(f"{page}/entities", json={"text": "a@example.org met Tim Cook"}, timeout=30).json()
        assert [one["label"] for one in told["entities"]] == ["EMAIL"]
        assert "does not answer" in told["error"]


@pytest.mark.browser
def test_somebody_types_and_corrects(demo: tuple[Factory, str], browser: Any, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    factory, url = demo
    problems: list[str] = []
    page: Any = browser.new_page(viewport={"width": 1000, "height": 800})
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(url)
    marks = page.locator("mark")
    page.get_by_label("Your text").press_sequentially(
        "🙂 Tim Cook met Angela Merkel in Berlin. <b>so</b>", delay=5
    )
    expect(marks).to_have_text(["Tim Cook", "Angela Merkel", "Berlin"], timeout=30_000)
    expect(page.locator("#shown b")).to_have_count(0)
    expect(page.get_by_role("button", name="Send the correction")).to_be_disabled()
    marks.nth(0).click()
    expect(marks).to_have_text(["Angela Merkel", "Berlin"])
    page.evaluate(
        """() => { const words = document.querySelector('#shown').firstChild, range = document.createRange();
        const at = words.data.indexOf('Tim'); range.setStart(words, at); range.setEnd(words, at + 8);
        getSelection().removeAllRanges(); getSelection().addRange(range); }"""
    )
    page.get_by_role("button", name="“Tim Cook” is ORG").click()
    expect(marks).to_have_text(["Tim Cook", "Angela Merkel", "Berlin"])
    page.get_by_role("button", name="Send the correction").click()
    page.get_by_text("it is an outcome of this prediction now").wait_for()
    page.screenshot(path=str(tmp_path / "page.png"))
    assert problems == []
    factory.drain()
    corrected = [
        json.loads(outcome["label"])
        for prediction in factory.predictions("ner")
        for outcome in factory.why(prediction["id"])["outcomes"]
    ]
    (told,) = corrected
    assert [2, 10, "ORG"] in told
    assert [15, 28, "PERSON"] in told
