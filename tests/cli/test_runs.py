"""Commands about runs, in a folder and on a server."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import modelworks as mw
from modelworks.cli import main
from modelworks.console.terminal import course
from modelworks.sdk import standalone
from modelworks.sdk.process import start


@pytest.fixture(params=["folder", "server"])
def command(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Any]:
    """Run a command where three runs are: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    for depth, auc in ((3, 0.7), (6, 0.9)):
        with mw.run("tree", experiment="churn", tags={"team": "a"}) as run:
            run.log_params(depth=depth, kind="xgb")
            for step in range(30):
                run.log_metrics(loss=1 / (step + 1))
            run.log_metrics({"auc": auc, "system.cpu_percent": 50.0})
            run.log_artifact(b"hello", "notes.txt")
    with mw.run("line"):
        pass
    standalone.close()

    def execute(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["modelworks", *where, *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    where: list[str] = []
    if request.param == "folder":
        yield execute
    else:
        with start(tmp_path) as server:
            where = ["--server", server.url]
            yield execute


def test_runs_are_found_shown_compared_and_put_away(command: Any, tmp_path: Path) -> None:
    code, out, err = command("runs", "list")
    assert (code, out.count("tree"), "line" in out, "runs compare" in err) == (0, 2, True, True)
    code, out, _ = command("runs", "list", "metrics.auc > 0.5", "--sort", "params.depth desc", "--json")
    found = json.loads(out)
    assert [run["params"]["depth"] for run in found] == [6, 3]
    assert len(json.loads(command("runs", "list", "line", "--json")[1])) == 1
    best, other = (run["id"] for run in found)

    code, out, err = command("runs", "show", best[:24])
    assert code == 0
    for part in (best, "churn", "depth", "0.9", "█", "notes.txt", "team=a", "cpu_percent"):
        assert part in out, part
    assert "next:" in err
    told = json.loads(command("runs", "show", best, "--json")[1])
    assert len(told["courses"]["loss"]) == 30

    code, out, err = command("runs", "compare", best, other)
    assert code == 0
    assert "params.depth" in out
    assert "params.kind" not in out
    assert "params.kind" in command("runs", "compare", best, other, "--all")[1]
    fields = json.loads(command("runs", "compare", best, other, "--json")[1])["fields"]
    assert {row["field"]: row["values"] for row in fields}["params.depth"] == [6, 3]

    assert command("runs", "artifact", best, "notes.txt", "--to", str(tmp_path / "copy.txt"))[0] == 0
    assert (tmp_path / "copy.txt").read_bytes() == b"hello"
    assert command("runs", "artifact", best, "nothing.txt")[0] == 1

    assert command("runs", "delete", best)[0] == 0
    assert len(json.loads(command("runs", "list", "tree", "--json")[1])) == 1
    assert len(json.loads(command("runs", "list", "--deleted", "--json")[1])) == 1
    assert command("runs", "restore", best)[0] == 0
    assert len(json.loads(command("runs", "list", "tree", "--json")[1])) == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["runs", "list", "auc > 1"], "at character 1: expected a field"),
        (["runs", "list", "metrics.auc > "], "it ends here"),
        (["runs", "show", "0" * 26], "there is no run"),
        (["runs", "compare", "0" * 26], "give 2 to 50"),
    ],
)
def test_what_is_wrong_is_said(command: Any, words: list[str], says: str) -> None:
    code, out, err = command(*words)
    assert (code, out) == (1, "")
    assert says in " ".join(err.replace("│", " ").split())


def test_a_course_in_a_line() -> None:
    assert course([1.0, 2.0, 3.0, 4.0]) == "▁▃▆█"
    assert course([1.0]) == ""
    assert course([5.0, float("nan"), 5.0]) == "▁▁"
    assert len(course([float(n) for n in range(1000)])) == 40
