"""A person at the console, in a real browser."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import pytest

import modelworks as mw
from modelworks.sdk import standalone
from modelworks.sdk.client import connect
from modelworks.sdk.process import start

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
pytestmark = pytest.mark.browser


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


def test_a_version_its_verdicts_its_card_and_two_side_by_side(
    page: Any, trained: Path, tmp_path: Path
) -> None:
    # Others count on what the trained project holds.
    shutil.copytree(trained, tmp_path / "project")
    with start(tmp_path / "project") as running:
        _versions(page, running.url)


def _versions(page: Any, server: str) -> None:
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


@pytest.fixture
def runs(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three runs on the server, with courses, a figure, a table and a text."""
    monkeypatch.chdir(tmp_path)
    made = []
    for depth, auc in ((3, 0.71), (6, 0.83), (9, 0.79)):
        with mw.run(f"tree {depth}", experiment="console", tags={"team": "pricing"}, server=server) as run:
            run.log_params(depth=depth, kind="gbtree")
            run.log_course("loss", [1 / (step + 1) for step in range(40)])
            run.log_metrics({"auc": auc, "system.cpu_percent": 40.0})
            run.log_artifact(PIXEL, "dot.png")
            run.log_artifact(b"as it was", "notes.txt")
            run.log_table({"carrier": ["UA", "AA"], "rows": [12, 7]}, "rows")
            run.note("the deeper <b>the better</b>")
        made.append(run.id)
    standalone.close()
    return made


def test_runs_are_found_sorted_compared_and_looked_at(page: Any, server: str, runs: list[str]) -> None:
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(server + "/")
    page.get_by_role("link", name="Runs").click()
    box = page.get_by_label("Query")
    box.fill("experiment = 'console' and")
    box.press("Enter")
    page.locator("pre.critical").wait_for()  # says where the query is wrong
    box.fill("experiment = 'console' and metrics.auc > 0.75")
    page.get_by_role("button", name="Find").click()
    page.get_by_text("2 runs", exact=True).wait_for()
    box.fill("experiment = 'console'")
    box.press("Enter")
    page.get_by_text("3 runs", exact=True).wait_for()

    def names() -> list[str]:
        found: list[str] = page.locator("table.runs tbody tr td:nth-child(2)").all_inner_texts()
        return found

    page.get_by_role("button", name="auc").click()
    page.locator("th[aria-sort=descending]").wait_for()
    assert names() == ["tree 6", "tree 9", "tree 3"]
    page.get_by_role("button", name="auc").click()
    page.locator("th[aria-sort=ascending]").wait_for()
    assert names() == ["tree 3", "tree 9", "tree 6"]
    assert box.input_value() == "experiment = 'console' order by metrics.auc asc"

    page.get_by_label("Compare tree 6").check()
    page.get_by_label("Compare tree 3").check()
    page.get_by_role("button", name="Compare", exact=True).click()
    page.get_by_text("Runs side by side").wait_for()
    row = page.locator("table.compare tr").filter(has_text="depth")
    assert row.locator("td").all_inner_texts() == ["depth", "6", "3"]
    assert page.locator("table.compare tr").filter(has_text="gbtree").count() == 0  # the same in both
    page.get_by_role("button", name="Show all").click()
    page.locator("table.compare tr").filter(has_text="gbtree").wait_for()
    assert page.get_by_role("img", name="Course of loss").locator("polyline").count() == 2

    page.get_by_role("link", name="tree 6").first.click()
    page.get_by_role("heading", name="tree 6").wait_for()
    line = page.get_by_role("img", name="Course of loss").locator("polyline")
    assert len((line.get_attribute("points") or "").split()) == 40
    page.get_by_text("the deeper <b>the better</b>").wait_for()  # text, not markup
    image = page.get_by_role("img", name="dot.png")
    image.wait_for()
    assert image.evaluate("one => one.naturalWidth") == 1
    page.get_by_text("as it was").wait_for()
    page.get_by_role("cell", name="UA", exact=True).wait_for()
    page.get_by_text("2 rows, 2 columns").wait_for()
    assert problems == []


def test_what_waits_for_a_person_is_approved_or_turned_down(page: Any, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "project")
    code = (tmp_path / "project" / "factory.py").read_text()
    (tmp_path / "project" / "factory.py").write_text(
        code.replace("@mw.model(", '@mw.model(approval="manual", ', 1)
    )
    with start(tmp_path / "project") as running:
        _waiting(page, running.url)


def _waiting(page: Any, server: str) -> None:
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: dialog.accept("the sensor was broken"))
    with connect(server) as client:
        client.call("train", model="diagnosis", force=True)
        (first,) = client.call("waiting")
        page.goto(server + "/")
        page.get_by_role("heading", name="Waits for a person").wait_for()
        page.get_by_role("button", name="Reject").click()
        page.get_by_text("the sensor was broken").wait_for()
        assert page.get_by_role("heading", name="Waits for a person").count() == 0
        client.call("train", model="diagnosis", force=True)
        (second,) = client.call("waiting")
        page.goto(server + "/#diagnosis")
        page.get_by_role("button", name="Approve").click()
        page.get_by_text("approved by").wait_for()
        assert client.call("waiting") == []
        assert client.call("deployments")[0]["version"] == second["version"] > first["version"]
    assert problems == []
