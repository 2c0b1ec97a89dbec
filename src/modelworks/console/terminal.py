"""How results look in a terminal: tables, times, hints, errors."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from modelworks.core.errors import ModelworksError

OUT = Console(highlight=False)
ERR = Console(stderr=True, highlight=False)


def failure(error: ModelworksError) -> None:
    """What happened, why, how to mend it."""
    lines = [f"[bold]{escape(error.what)}[/bold]"]
    if error.why:
        lines.append(escape(error.why))
    if error.fix:
        lines.append(f"[green]{escape(error.fix)}[/green]")
    ERR.print(Panel("\n".join(lines), border_style="red", title="not done", title_align="left", expand=False))


def raw(value: Any) -> None:
    """Print JSON."""
    from modelworks.core.plain import to_json

    print(to_json(value, indent=True).decode())


def hint(text: str) -> None:
    """A next step, quietly."""
    ERR.print(f"[dim]next: {escape(text)}[/dim]")


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Says what is done while it takes its time, where somebody looks."""
    with ERR.status(what) if ERR.is_terminal else nullcontext():
        yield


def note(text: str, indent: int = 2) -> None:
    """A remark about what was just shown, in markup; all of its lines are indented by so many characters."""
    OUT.print(Padding(text, (0, 0, 0, indent), expand=False))


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str = "nothing yet"
) -> None:
    """A table no wider than the terminal; columns whose name ends with ``#`` hold numbers.

    Words stay whole: where the columns have no room for theirs, each row is told as a list of name and value.
    """
    if not rows:
        OUT.print(f"{escape(title)}: [dim]{escape(empty)}[/dim]")
        return None
    names = [name.rstrip("#") for name in columns]
    cells = [[Text.from_markup(cell(value)) for value in row] for row in rows]
    if title:
        OUT.print(f"[bold]{escape(title)}[/bold]")
    room = widths(
        [[name, *(row[at].plain for row in cells)] for at, name in enumerate(names)],
        [name.endswith("#") for name in columns],
        OUT.width - len(names) + 1,
    )
    if room is None:
        return _listed(names, cells)
    shown = Table(header_style="dim", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name, column, width in zip(names, columns, room, strict=True):
        justify: Literal["left", "right"] = "right" if column.endswith("#") else "left"
        shown.add_column(name, justify=justify, width=width, overflow="fold")
    for row in cells:
        shown.add_row(*row)
    return OUT.print(shown)


_BREAKABLE = 28
"""Characters from which on a word may be broken."""
_PROSE = 24
"""Characters that a line of prose should have."""


def widths(columns: Sequence[Sequence[str]], numbers: Sequence[bool], room: int) -> list[int] | None:
    """How wide each column is, in characters; None where there is no room for their words.

    Moments stay in one line while that leaves room for prose, numbers while there is room at all. What is left goes to
    the columns that want least.

    Args:
        columns: Of each its name, then its cells.
        numbers: Which of them hold numbers.
        room: Characters for all of them.
    """
    wanted = [max(cell_len(text) for text in column) for column in columns]
    word = [
        min(max((cell_len(one) for text in column for one in text.split()), default=0), _BREAKABLE)
        for column in columns
    ]
    steady = [
        max(least, *(cell_len(text) for text in column[1:])) if number else least
        for column, number, least in zip(columns, numbers, word, strict=True)
    ]
    whole = [
        want if column[0] in _MOMENTS else least
        for column, want, least in zip(columns, wanted, steady, strict=True)
    ]
    given = _given(whole, wanted, room)
    if given is not None and all(got >= min(want, _PROSE) for got, want in zip(given, wanted, strict=True)):
        return given
    wanted = [
        least if column[0] in _MOMENTS else want
        for column, want, least in zip(columns, wanted, word, strict=True)
    ]
    return _given(steady, wanted, room) or _given(word, wanted, room)


def _given(least: Sequence[int], wanted: Sequence[int], room: int) -> list[int] | None:
    left = room - sum(least)
    if left < 0:
        return None
    given = list(least)
    modest = sorted(range(len(given)), key=lambda at: wanted[at] - least[at])
    for place, at in enumerate(modest):
        more = min(max(wanted[at] - least[at], 0), left // (len(modest) - place))
        given[at] += more
        left -= more
    return given


_MOMENTS = ("when", "since", "until", "opened", "closed", "made")


def _listed(names: Sequence[str], rows: Sequence[Sequence[Text]]) -> None:
    """Rows that are too wide for a table: the first value, and below it the others that there are with their names."""
    for row in rows:
        OUT.print(row[0])
        lines: list[Text] = []
        for name, value in zip(names[1:], row[1:], strict=True):
            if value.plain == "-":
                continue
            pair = Text.assemble((f"{name} ", "dim"), value)
            if lines and cell_len(lines[-1].plain) + cell_len(pair.plain) + 5 <= OUT.width:
                lines[-1].append("   ").append_text(pair)
            else:
                lines.append(pair)
        for one in lines:
            OUT.print(Padding(one, (0, 0, 0, 2), expand=False))


def cell(value: Any) -> str:
    """One value as a person reads it."""
    if value is None or value == "":
        return "[dim]-[/dim]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    return escape(str(value))


def metrics(values: Mapping[str, Any]) -> str:
    """Metrics by name, in one line."""
    return " ".join(f"{name} {'-' if value is None else cell(value)}" for name, value in values.items())


def when(text: str | None) -> str:
    """A moment, to the minute."""
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M") if text else ""


def seconds(value: float) -> str:
    """A span of time."""
    return f"{value:.1f} s" if value < 60 else f"{int(value // 60)} min {int(value % 60)} s"


def bars(counts: Sequence[int]) -> str:
    """A histogram in one line."""
    most = max(counts, default=0)
    return (
        "".join("▁▂▃▄▅▆▇█"[min(count * 8 // most, 7)] if count else " " for count in counts) if most else ""
    )


def course(values: Sequence[float], width: int = 40) -> str:
    """A course in one line: the newest value of each of `width` parts, between its lowest and highest."""
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if len(finite) < 2:
        return ""
    low, high = min(finite), max(finite)
    taken = [
        finite[(part + 1) * len(finite) // min(width, len(finite)) - 1]
        for part in range(min(width, len(finite)))
    ]
    return "".join("▁▂▃▄▅▆▇█"[int((value - low) / ((high - low) or 1.0) * 7.999)] for value in taken)


def facts(pairs: Sequence[tuple[str, Any]]) -> None:
    """Name and value, a line each; empty values are left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, "", [], {}):
            grid.add_row(name, cell(value))
    OUT.print(grid)


def labels(said: dict[str, Any]) -> list[tuple[str, Any]]:
    """What people say of a model or version, as facts."""
    tags = " ".join(f"{name}={value}" for name, value in said["tags"].items())
    return [("owner", said["owner"]), ("tags", tags), ("note", said["note"]), ("stage", said["stage"])]


_ANSWER = 60
"""Characters that are shown of an answer."""


def flags(told: str | Sequence[Any] | None) -> str:
    """What the input guard said of a row, in a word for each column."""
    found: Sequence[Any] = json.loads(told) if isinstance(told, str) else told or ()
    return ", ".join(f"{one['column']} {one['kind'].replace('_', ' ')}" for one in found)


def piece(text: str) -> None:
    """Part of an answer, at once; what would command the terminal is left out."""
    OUT.file.write("".join([one for one in text if one.isprintable() or one in "\n\t"]))
    OUT.file.flush()


def line(text: str) -> None:
    """A line, at once, as it is."""
    piece(text + "\n")


def why_tree(told: dict[str, Any]) -> Tree:
    """The answer of `why` as a tree."""
    p, version, data = told["prediction"], told["model_version"], told["dataset"]
    answer = p["output"] if p["outputs"] is None else p["outputs"]
    if isinstance(answer, str) and len(answer) > _ANSWER:
        answer = answer[:_ANSWER] + "..."
    tree = Tree(f"[bold]{p['id']}[/bold]  {cell(answer)}  for {cell(p.get('key') or 'a row')}")
    said = json.loads(p.get("flags") or "[]")
    if any(one["kind"] == "cut" for one in said):
        tree.add("[yellow]the answer was not given to its end[/yellow]")
    if odd := [one for one in said if one["kind"] != "cut"]:
        tree.add(f"[yellow]the training had not seen the like: {cell(flags(odd))}[/yellow]")
    came = [f"{name} {cell(p[name])}" for name in ("caller", "request", "trace") if p.get(name)]
    if p.get("latency") is not None:
        came.append(f"answered in {p['latency'] * 1000:.3g} ms")
    if came:
        tree.add(", ".join(came))
    made = tree.add(
        f"[cyan]{cell(version['ref'])}[/cyan], {version['served']}, made {when(version['created'])}"
    )
    if version["metrics"]:
        made.add("at validation: " + " ".join(f"{k} {cell(v)}" for k, v in version["metrics"].items()))
    proof = version["proof"]
    if proof["largest_difference"] is not None:
        made.add(f"compiled = original within {proof['largest_difference']:.1g} on {proof['rows']} rows")
    if data["ref"] is None:
        made.add("learned from nothing that the factory knows: it was brought in")
    else:
        rows = " and ".join(f"{k} {v}" for k, v in data["rows_filter"].items())
        made.add(f"learned from [cyan]{cell(data['ref'])}[/cyan] where {cell(rows)}")
    for one in told.get("outcomes", [])[:3]:
        tree.add(f"turned out {cell(one['label'] if one['value'] is None else one['value'])}")
    for verdict in told["verdicts"]:
        passed = "passed" if verdict["passed"] else "refused by"
        made.add(f"{passed} {cell(verdict['gate'])}: {cell(verdict['reason'])}")
    if told["decision"]:
        made.add(f"trained because {cell(told['decision']['reason'])}")
    if told["deployment"]:
        made.add(f"deployed {when(told['deployment']['created'])}, revision {told['deployment']['revision']}")
    env = told["environment"]
    made.add(
        f"code {told['code'][:12]}, {env['python']} with {env['packages']} packages ({env['digest'][:12]})"
    )
    return tree


def lineage_tree(told: dict[str, Any], wide: int) -> Tree:
    """The answer of `lineage` as a tree; a thing that stands in it already is not opened again."""
    upward = told["direction"] == "up"
    near: dict[str, dict[str, list[str]]] = {}
    for edge in told["edges"]:
        here, there = (edge["target"], edge["source"]) if upward else (edge["source"], edge["target"])
        near.setdefault(here, {}).setdefault(edge["relation"], []).append(there)
    tree = Tree(_node(told["node"], told["details"]))
    if told["node"] not in near:
        tree.add("[dim]nothing is known[/dim]")
    opened = {told["node"]}

    def grow(branch: Tree, node: str) -> None:
        for relation, others in near.get(node, {}).items():
            for other in others[:wide]:
                mark = f"[dim]{relation} by[/dim] " if upward else f"[dim]{relation}[/dim] "
                twig = branch.add(mark + _node(other, told["details"]))
                if other not in opened:
                    opened.add(other)
                    grow(twig, other)
            if len(others) > wide:
                branch.add(f"[dim]{relation}: and {len(others) - wide:,} more[/dim]")

    grow(tree, told["node"])
    return tree


_SHORT = 12


def _node(text: str, details: dict[str, str]) -> str:
    """A node as people read it: digests short, with what is worth saying."""
    kind, _, name = text.partition(":")
    if kind in ("code", "source", "environment"):
        name = name[:_SHORT]
    said = f"  [dim]{escape(details[text])}[/dim]" if details.get(text) else ""
    return f"{kind} [cyan]{escape(name)}[/cyan]{said}"
