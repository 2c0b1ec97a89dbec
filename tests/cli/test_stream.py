"""An answer that is read while it is made, as the how-to says: logged, deployed, asked here and over HTTP."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from modelworks.cli import main
from modelworks.factory import Factory
from modelworks.sdk.process import start

GUIDE = (Path(__file__).parents[2] / "docs/how-to/stream.md").read_text()


def test_the_guide_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(import.*?)```", GUIDE, re.DOTALL)
    exec(compile(code, "guide", "exec"), {"__name__": "guide"})
    (said,) = re.findall(r"\$ (modelworks predict.*)\n(.*)\n", GUIDE)

    def mw(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["modelworks", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert not ended.value.code, err
        return out

    mw("deploy", "story@1")
    asked = ("predict", "story", "--row", '{"name": "Ada"}', "--stream")
    assert said == (
        f"modelworks {asked[0]} {asked[1]} {asked[2]} '{asked[3]}' {asked[4]}",
        "Once upon a time there was Ada.",
    )
    assert mw(*asked) == said[1] + " \n"
    with start(tmp_path) as server:
        assert mw("--server", server.url, *asked) == said[1] + " \n"
        lines = [json.loads(line) for line in mw("--server", server.url, "--json", *asked).splitlines()]
        assert [one["piece"] for one in lines[:-1]] == [word + " " for word in said[1].split()]
        (answer,) = lines[-1]["predictions"]
        assert answer["output"] == said[1] + " "
        assert "answered in" in mw("--server", server.url, "why", answer["id"])
    with Factory(tmp_path) as factory:
        factory.drain()
        assert len(factory.predictions("story")) == 3
