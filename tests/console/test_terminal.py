"""Tables that stay readable in a terminal of any width."""

from __future__ import annotations

import pytest
from rich.console import Console

from modelworks.console import terminal

HEADS = ["when", "segment", "loss#", "because"]
ROWS = [["2013-04-30 05:00", "UA,LGA,CLE", 0.8114, "it has 100 rows, which is enough for a model of its own"]]
EVERY_WORD = {"2013-04-30", "05:00", "UA,LGA,CLE", "0.8114", *ROWS[0][3].split()}


def printed(monkeypatch: pytest.MonkeyPatch, width: int) -> str:
    console = Console(width=width, highlight=False, color_system=None)
    monkeypatch.setattr(terminal, "OUT", console)
    with console.capture() as taken:
        terminal.table("Decisions", HEADS, ROWS)
    return taken.get()


@pytest.mark.parametrize("width", [20, 34, 45, 80, 120])
def test_no_word_is_broken_and_no_line_is_wider_than_the_terminal(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    text = printed(monkeypatch, width)
    assert set(text.split()) >= EVERY_WORD
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width


def test_a_moment_and_a_number_stay_in_one_line_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "2013-04-30 05:00 UA,LGA,CLE 0.8114 it has" in printed(monkeypatch, 60)


def test_what_has_no_room_for_its_words_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line.rstrip() for line in printed(monkeypatch, 24).splitlines()]
    assert lines[:3] == ["Decisions", "2013-04-30 05:00", "  segment UA,LGA,CLE"]


def test_what_is_left_goes_to_the_columns_that_want_least() -> None:
    columns = [["id", "7"], ["a b", "two words"], ["c", "a text that is longer than all there is room for"]]
    assert terminal.widths(columns, [True, False, False], 31) == [2, 9, 20]
