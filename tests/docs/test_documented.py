"""Documentation that fails when it is no longer true."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import modelworks
from modelworks.api.mlflow import app as _mlflow  # noqa: F401 - enters the calls
from modelworks.api.mlflow.calls import CALLS
from modelworks.cli.app import app
from modelworks.config import Settings
from modelworks.core import errors
from modelworks.factory import VERBS
from modelworks.serving.replies import STATUS

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "docs/reference/index.md").read_text()


def commands(command: Any, path: tuple[str, ...] = ()) -> list[str]:
    """Every command that is not hidden."""
    if not hasattr(command, "commands"):
        return [" ".join(path)]
    return [
        name
        for part, sub in command.commands.items()
        if not sub.hidden
        for name in commands(sub, (*path, part))
    ]


@pytest.mark.parametrize("command", commands(get_command(app)))
def test_every_command_is_in_the_reference(command: str) -> None:
    assert f"`modelworks {command}`" in REFERENCE


@pytest.mark.parametrize("command", commands(get_command(app)))
def test_every_argument_says_what_it_is(command: str) -> None:
    found: Any = get_command(app)
    for part in command.split():
        found = found.commands[part]
    assert [one.name for one in found.params if not one.help] == []
    # What is off by itself needs no option that leaves it off.
    assert [
        one.name for one in found.params if f"--no-{one.name}" in one.secondary_opts and not one.default
    ] == []


@pytest.mark.parametrize("name", [field.name for field in fields(Settings)])
def test_every_setting_is_in_the_reference(name: str) -> None:
    assert f"`{name.replace('_', '.', 1)}`" in REFERENCE


@pytest.mark.parametrize("name", [name for name in modelworks.__all__ if name != "__version__"])
def test_every_public_name_is_in_the_reference(name: str) -> None:
    assert f"`mw.{name}`" in REFERENCE
    assert getattr(modelworks, name).__doc__


@pytest.mark.parametrize("route", [f"{route.method} {route.path}" for route in VERBS.values()])
def test_every_route_is_in_the_reference(route: str) -> None:
    assert f"`{route}`" in REFERENCE


@pytest.mark.parametrize("call", [f"{call.method} {call.path}" for call in CALLS])
def test_every_call_of_mlflow_is_in_the_reference(call: str) -> None:
    assert f"`{call}`" in REFERENCE


KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.ModelworksError) and kind.code != "error"
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_every_error_is_in_the_reference(kind: type[errors.ModelworksError]) -> None:
    status = next(status for one, status in STATUS if issubclass(kind, one))
    assert f"| `{kind.code}` | {status} |" in REFERENCE


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")), ids=lambda p: p.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http|mailto|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_s_commands_run(tmp_path: Path) -> None:
    """A new user's first five minutes, word for word; what serves or installs is tested elsewhere."""
    section = (ROOT / "README.md").read_text().split("## Your own factory")[1].split("```")[1]
    folder = tmp_path
    ran = 0
    for line in re.findall(r"^\$ (.*)$", section, re.M):
        words = shlex.split(line)
        if words[0] == "cd":
            folder = folder / words[1]
        elif words[0] == "modelworks" and words[1] != "up":
            done = subprocess.run(
                [sys.executable, "-m", "modelworks.cli", *words[1:]],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            ran += 1
    assert ran == 4
