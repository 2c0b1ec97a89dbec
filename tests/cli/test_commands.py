"""The commands as a person runs them, in a folder and on a server."""

from __future__ import annotations

import json
import pickle
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from modelworks.cli import main
from modelworks.cli.template import make
from modelworks.stores.ledger.revisions import HEAD


def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[int, str, str]:
    """Run a command in this process: exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["modelworks", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.fixture
def mw(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path) -> Any:
    """Run a command on the trained project."""
    return lambda *words: run(capsys, monkeypatch, "--project", str(trained), *words)


def test_a_new_project_works_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(capsys, monkeypatch, "init", "shop")[0] == 0
    monkeypatch.chdir(tmp_path / "shop")
    code, out, err = run(capsys, monkeypatch, "ingest")
    assert (code, "569" in out, "next: modelworks train" in err) == (0, True, True)
    code, out, _ = run(capsys, monkeypatch, "train")
    assert (code, "diagnosis" in out) == (0, True)
    code, out, _ = run(capsys, monkeypatch, "--json", "models", "list")
    assert [(one["name"], one["champions"]) for one in json.loads(out)] == [("diagnosis", 1)]
    code, _, err = run(capsys, monkeypatch, "init", ".")
    assert (code, "is there already" in err) == (1, True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "--jsn"], "No such option"), (["nope"], "No such command"), (["predict"], "Missing argument"),
        (["predict", "diagnosis", "--limit"], ""),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_word_is_told_without_a_traceback(mw: Any, words: list[str], says: str) -> None:
    code, out, err = mw(*words)
    assert (code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err


def test_json_at_the_end_is_json_as_well_and_so_is_an_error(mw: Any) -> None:
    code, out, _ = mw("models", "list", "--json")
    assert (code, json.loads(out)[0]["name"]) == (0, "diagnosis")
    code, out, err = mw("models", "show", "nothing", "--json")
    assert (code, err) == (1, "")
    assert set(json.loads(out)["error"]) >= {"code", "what", "why", "fix"}


@pytest.mark.parametrize(
    "words",
    [
        ["status"], ["data", "list"], ["data", "show", "tumours"], ["data", "quarantine", "tumours"],
        ["data", "profile", "tumours"], ["data", "diff", "tumours@1", "tumours"],
        ["runs", "list"], ["models", "list"], ["models", "show", "diagnosis"], ["predictions"],
        ["models", "compare", "diagnosis@1", "diagnosis@1"], ["alerts"],
        ["monitor", "diagnosis"], ["decisions"], ["lineage", "diagnosis@1"], ["audit"],
        ["token", "list"], ["doctor"], ["plan"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_looking_prints_something_and_as_json_only_json(mw: Any, words: list[str]) -> None:
    code, out, err = mw(*words)
    assert code == 0, err
    assert out.strip()
    assert "next:" in err
    code, out, _ = mw("--json", *words)
    json.loads(out)
    assert code == 0


def test_the_doctor_says_the_ledger_s_revision_and_when_it_is_too_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def doctor() -> tuple[int, dict[str, dict[str, Any]]]:
        code, out, _ = run(capsys, monkeypatch, "--json", "--project", str(tmp_path / "p"), "doctor")
        return code, {finding["what"]: finding for finding in json.loads(out)}

    make(tmp_path / "p")
    code, findings = doctor()
    assert (code, findings["ledger"]["found"]) == (0, f"sqlite, at revision {HEAD}, the newest")
    database = tmp_path / "p" / ".modelworks" / "ledger.db"
    copy = database.with_name(f"ledger-before-{HEAD}.db")
    copy.touch()
    assert doctor()[1]["ledger"]["found"].endswith(f"; as it was before the last upgrade: {copy}")
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("update alembic_version set version_num = '9999'")
    code, findings = doctor()
    assert (code, findings["ledger"]["ok"], findings["project"]["ok"]) == (1, False, True)
    assert "newer than this Modelworks" in findings["ledger"]["found"]
    assert "pip install --upgrade modelworks" in findings["ledger"]["fix"]
    code, _, err = run(capsys, monkeypatch, "--project", str(tmp_path / "p"), "models", "list")
    assert (code, "newer than this Modelworks" in err, "Traceback" in err) == (1, True, False)


def test_what_waits_for_a_person_is_the_next_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "p")
    code = (tmp_path / "p" / "factory.py").read_text()
    (tmp_path / "p" / "factory.py").write_text(code.replace("@mw.model(", '@mw.model(approval="manual",', 1))
    monkeypatch.chdir(tmp_path / "p")
    assert run(capsys, monkeypatch, "ingest")[0] == 0
    code, _, err = run(capsys, monkeypatch, "train")
    assert (code, "next: modelworks approve 'diagnosis@1', or modelworks reject 'diagnosis@1'" in err) == (
        0,
        True,
    )
    code, _, err = run(capsys, monkeypatch, "apply")
    assert (code, "next: modelworks decisions" in err) == (0, True)  # nothing new waits
    code, _, err = run(capsys, monkeypatch, "status")
    assert (code, "next: modelworks approve" in err) == (0, True)
    code, out, err = run(capsys, monkeypatch, "approve")
    assert (code, "diagnosis@1" in out, "modelworks reject 'diagnosis@1'" in err) == (0, True, True)
    _, out, _ = run(capsys, monkeypatch, "--json", "approve")
    assert [(one["ref"], one["champion"]) for one in json.loads(out)] == [("diagnosis@1", None)]
    code, out, _ = run(capsys, monkeypatch, "approve", "diagnosis@1")
    assert (code, "diagnosis@1 is the champion now" in out) == (0, True)
    code, out, _ = run(capsys, monkeypatch, "approve")
    assert (code, out.strip()) == (0, "Waits for a person: nothing does")


def test_a_card_goes_to_the_terminal_or_into_a_file(mw: Any, server: str, tmp_path: Path) -> None:
    code, out, _ = mw("models", "card", "diagnosis@1")
    assert (code, out.startswith("# diagnosis@1")) == (0, True)
    code, out, err = mw("models", "card", "diagnosis@1", "--out", str(tmp_path / "card.html"))
    assert (code, "next:" in err) == (0, True)
    assert "<!doctype html>" in (tmp_path / "card.html").read_text()
    code, out, _ = mw("--server", server, "models", "card", "diagnosis@1", "--html")
    assert (code, "<h1>diagnosis@1" in out) == (0, True)
    code, out, _ = mw("--json", "models", "card", "diagnosis@1")
    assert json.loads(out)["ref"] == "diagnosis@1"


def test_an_answer_can_be_walked_back(mw: Any, row: dict[str, float]) -> None:
    _, out, _ = mw("--json", "predict", "diagnosis", "--row", json.dumps(row))
    (answer,) = json.loads(out)["predictions"]
    code, out, _ = mw("why", answer["id"])
    assert code == 0
    assert "tumours@1" in out
    assert "AtLeast(roc_auc)" in out


def test_rows_from_a_file(mw: Any, trained: Path) -> None:
    code, out, _ = mw("--json", "predict", "diagnosis", "--file", str(trained / "data" / "tumours.csv"))
    assert code == 0
    assert len(json.loads(out)["predictions"]) == 569


def test_a_model_made_elsewhere_is_imported_and_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def mw(*words: str) -> tuple[int, str, str]:
        return run(capsys, monkeypatch, "--project", str(tmp_path / "project"), *words)

    make(tmp_path / "project")
    frame = pd.DataFrame({"a": np.arange(40.0), "b": np.arange(40.0) % 7})
    fitted = LogisticRegression().fit(frame, frame["a"] > 20)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    path = tmp_path / "risk.pkl"
    path.write_bytes(pickle.dumps(fitted))
    code, _, err = mw("models", "import", str(path))
    assert (code, "is a pickle" in err, "--trust" in err) == (1, True, True)
    code, out, _ = mw(
        "--json", "models", "import", str(path), "--trust", "--example", str(tmp_path / "rows.csv")
    )
    told = json.loads(out)
    assert (code, told["ref"], told["flavor"], told["compiled"]) == (0, "risk@1", "sklearn", True)
    code, out, err = mw("models", "import", str(path), "--trust", "--name", "again")
    assert (code, "natively: no rows came" in " ".join(out.split()), "deploy 'again@1'" in err) == (
        0,
        True,
        True,
    )
    assert mw("deploy", "risk@1")[0] == 0
    code, out, _ = mw("--json", "predict", "risk", "--row", '{"a": 40, "b": 1}')
    assert (code, json.loads(out)["predictions"][0]["output"] > 0.9) == (0, True)
    code, out, _ = mw("--json", "lineage", "model:risk@1")
    assert "risk.pkl#" in out
    code, _, err = mw("--server", "http://127.0.0.1:9", "models", "import", str(path))
    assert (code, "works on a project folder" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["models", "show", "diagnosys"], 1, "diagnosis"),
        (["train", "diagnosys"], 1, "diagnosis"),
        (["predict", "diagnosis", "--row", "{"], 2, "not JSON"),
        (["predict", "diagnosis"], 2, "no rows"),
        (["predict", "diagnosis", "--row", '{"radius": "wide"}'], 1, "radius"),
        (["why", "nonsense"], 1, "no prediction"),
        (["rollback", "diagnosis"], 1, "first champion"),
        (["models", "card", "diagnosis@99"], 1, "diagnosis"),
        (["models", "card", "diagnosis", "--html", "--md"], 2, "choose one"),
        (["models", "compare", "diagnosis@1", "diagnosys@1"], 1, "diagnosis"),
        (["data", "show", "nothing"], 1, "no dataset"),
        (["token", "create", "x", "--role", "king"], 2, "reader, builder, admin"),
        (["--server", "http://127.0.0.1:9", "models", "list"], 1, "does not answer"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_is_wrong_is_said_with_an_exit_code(mw: Any, words: list[str], code: int, says: str) -> None:
    ended, _, err = mw(*words)
    assert ended == code
    assert says in " ".join(err.split())
    assert "Traceback" not in err


def test_the_same_commands_work_on_a_server(mw: Any, server: str, row: dict[str, float]) -> None:
    for words in (["status"], ["models", "list"], ["data", "show", "tumours"], ["decisions"], ["plan"]):
        code, out, err = mw("--server", server, "--json", *words)
        assert code == 0, err
        json.loads(out)
    code, out, _ = mw("--server", server, "--json", "predict", "diagnosis", "--row", json.dumps(row))
    (answer,) = json.loads(out)["predictions"]
    code, out, _ = mw("--server", server, "why", answer["id"])
    assert (code, "tumours@1" in out) == (0, True)
    code, _, err = mw("--server", server, "why", "nonsense")
    assert (code, "no prediction" in err) == (1, True)


def test_a_refused_candidate_is_exit_code_3(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(capsys, monkeypatch, "init", str(tmp_path))
    definition = tmp_path / "factory.py"
    definition.write_text(
        definition.read_text().replace('AtLeast("roc_auc", 0.9)', 'AtLeast("roc_auc", 1.1)')
    )
    run(capsys, monkeypatch, "--project", str(tmp_path), "ingest")
    assert run(capsys, monkeypatch, "--project", str(tmp_path), "train")[0] == 3


def test_a_broken_factory_is_named_by_its_line(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "factory.py").write_text("import modelworks as mw\nx = 1 / 0\n")
    code, _, err = run(capsys, monkeypatch, "--project", str(tmp_path), "train")
    assert code == 1
    assert "factory.py:2" in "".join(err.replace("│", "").split())
    assert "ZeroDivisionError" in err


def test_help_needs_no_heavy_library() -> None:
    program = (
        "import sys; sys.argv = ['modelworks', '--help']\n"
        "from modelworks.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'sklearn', 'pandas', 'polars', 'sqlalchemy', 'onnxruntime', 'pyarrow', 'fastapi'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command on a project of one's own, which has taken in its file and another with two bad rows."""
    make(tmp_path)
    (tmp_path / "data" / "more.csv").write_text(
        "sample,taken,radius,texture,smoothness,concavity,symmetry,malignant,grade\n"
        "x1,2024-03-01,-9,2,0.1,0.1,0.1,1,4\n"
        "x2,2024-03-01,9,2,0.1,0.1,0.1,7,4\n"
        "x3,2024-03-01,9,2,0.1,0.1,0.1,1,4\n"
    )
    monkeypatch.chdir(tmp_path)
    return lambda *words: run(capsys, monkeypatch, *words)


def test_bad_rows_are_looked_at_corrected_and_taken_in(shop: Any, tmp_path: Path) -> None:
    code, out, err = shop("ingest")
    assert code == 0
    assert 'not in the contract, left out: grade; to take it in: "grade": mw.Number(integer=True' in out
    assert "modelworks data quarantine tumours shows the rows that were kept apart" in err
    code, out, err = shop("data", "quarantine", "tumours", "--reason", "radius", "--out", "bad.jsonl")
    assert (code, "1 rows written" in out, "data replay tumours --file bad.jsonl" in err) == (0, True, True)
    (line,) = (json.loads(text) for text in (tmp_path / "bad.jsonl").read_text().splitlines())
    assert line["row"]["radius"] == -9
    (tmp_path / "bad.jsonl").write_text(json.dumps({"id": line["id"], "row": line["row"] | {"radius": 9}}))
    code, out, _ = shop("data", "replay", "tumours", "--file", "bad.jsonl")
    assert (code, "1 rows came in as tumours@2" in out) == (0, True)
    code, out, _ = shop("data", "replay", "tumours", "--set", "malignant=8")
    assert "1 rows do not fit the contract, and stay where they are" in out
    assert shop("data", "replay", "tumours", "--set", "malignant")[0] == 2
    code, out, _ = shop("--json", "data", "replay", "tumours", "--set", "malignant=1")
    assert json.loads(out)["rows_added"] == 1
    code, out, _ = shop("--json", "data", "quarantine", "tumours")
    assert json.loads(out) == []
    assert shop("data", "replay", "tumours")[0] == 1


def test_what_a_rule_refuses_is_said_and_waits_until_it_is_accepted(shop: Any, tmp_path: Path) -> None:
    project = tmp_path / "factory.py"
    project.write_text(
        project.read_text().replace(
            '"data/*.csv"),', '"data/*.csv"), rules=[mw.Rows(max=9, on_breach="reject")],'
        )
    )
    code, out, _ = shop("ingest")
    assert (code, "refused" in out, "--accept" in out) == (3, True, True)
    code, out, _ = shop("alerts")
    assert "nothing was let into tumours" in " ".join(out.split())
    code, out, _ = shop("ingest", "--accept")
    assert (code, "rows came, more than 9" in out) == (0, True)
    assert "rows came, more than 9" in shop("data", "show", "tumours")[1]


def test_versions_are_kept_let_go_and_a_subject_is_forgotten(shop: Any) -> None:
    shop("ingest")
    assert "is kept until somebody unpins it" in shop("data", "pin", "tumours@1", "--reason", "audit")[1]
    assert "pinned: audit" in shop("data", "show", "tumours")[1]
    assert "not pinned any more" in shop("data", "unpin", "tumours@1")[1]
    assert "nothing to pack" in shop("data", "compact", "tumours")[1]
    assert "0 versions let go" in shop("data", "vacuum", "tumours", "--keep", "1d")[1]
    code, out, _ = shop("forget", "tumours", "--key", "x3", "--yes")
    assert (code, "1 of the newest version" in out) == (0, True)
    code, out, _ = shop("--json", "forget", "tumours", "--key", "x3")
    assert json.loads(out)["rows"] == 0
