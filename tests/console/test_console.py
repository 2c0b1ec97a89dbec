"""A person at the console, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelworks.sdk.client import connect

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not CHROMIUM.exists(), reason="/usr/bin/chromium is not installed (Debian: apt-get install chromium)"
    ),
]


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser.new_page(viewport={"width": 1280, "height": 900})
        browser.close()


def test_from_the_overview_to_why(page: Any, server: str, row: dict[str, float]) -> None:
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    with connect(server) as client:
        (answer,) = client.predict("diagnosis", [row])["predictions"]
    page.goto(server + "/")
    page.get_by_text("models live").wait_for()
    page.get_by_role("searchbox").fill("nothing like it")
    page.get_by_text("no model matches").wait_for()
    page.get_by_role("searchbox").fill("diag")
    page.get_by_role("link", name="diagnosis").click()
    page.get_by_text("What the gates said of diagnosis@").wait_for()
    page.get_by_text("BeatsChampion(log_loss)").first.wait_for()
    page.get_by_role("button", name=answer["id"][:12]).first.click()
    page.get_by_text("Data tumours@1").wait_for()
    page.get_by_role("button", name="Close").click()
    page.goto(server + "/docs")
    page.get_by_text("/predict/diagnosis").wait_for()
    assert problems == []


def test_a_dataset_with_what_its_columns_hold(page: Any, server: str) -> None:
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(server + "/")
    page.get_by_role("link", name="tumours", exact=True).click()
    page.get_by_text("Columns of tumours@1").wait_for()
    row = page.get_by_role("row").filter(has_text="concavity")
    assert row.locator("svg rect").count() == 20
    page.get_by_role("heading", name="Quarantine, the newest").wait_for()
    assert problems == []


def test_a_version_its_verdicts_its_card_and_two_side_by_side(page: Any, server: str) -> None:
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    with connect(server) as client:
        client.call("train", model="diagnosis", force=True)
    page.goto(server + "/#diagnosis%401")
    page.get_by_text("What the gates said of diagnosis@1").wait_for()
    page.get_by_text("roc_auc 0.").first.wait_for()
    with page.expect_popup() as popup:
        page.get_by_role("link", name="Its model card").click()
    card = popup.value
    card.get_by_role("heading", name="diagnosis@1").wait_for()
    assert card.locator("svg.reliability .dot").count() >= 5
    assert card.locator("svg.whisker").count() == 2
    assert card.evaluate("document.documentElement.scrollWidth <= innerWidth")
    card.close()
    page.get_by_role("checkbox", name="Choose version 1 to compare").check()
    page.get_by_role("checkbox", name="Choose version 2 to compare").check()
    page.get_by_role("link", name="Compare diagnosis@1 with diagnosis@2").click()
    page.get_by_role("heading", name="On the same 114 held-out rows of diagnosis@2").wait_for()
    page.get_by_role("heading", name="Params that differ").wait_for()
    assert problems == []
