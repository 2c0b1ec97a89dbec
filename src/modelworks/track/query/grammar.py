"""Reading a query, by recursive descent.

::

    query      = [ either ] [ "order" "by" key { "," key } ] [ "limit" whole ]
    either     = both { "or" both }
    both       = term { "and" term }
    term       = "not" term | "(" either ")" | comparison
    comparison = field ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
               | field [ "not" ] "like" text
               | field [ "not" ] "in" "(" value { "," value } ")"
               | field "is" [ "not" ] "null"
    key        = field [ "asc" | "desc" ]
    field      = ( "params" | "metrics" | "tags" ) "." name | column
    value      = number | text | span | "true" | "false" | "now" [ "-" span ]

A name is made of letters, digits and ``_ . / : -``, or of anything in backquotes; a text stands in single or
double quotes, doubled inside; a span is a number with ``s``, ``m``, ``h``, ``d`` or ``w``. Words of the language
may be written in capitals. ``==`` is ``=``, ``<>`` is ``!=``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from typing import NoReturn

from modelworks.core.clock import utc
from modelworks.core.errors import Invalid
from modelworks.track.query.words import (
    RUNS,
    Both,
    Compare,
    Condition,
    Dialect,
    Field,
    Not,
    Order,
    Query,
    Value,
)

_LONGEST = 10_000
_DEEPEST = 100
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?P<unit>[smhdw]\b)?(?![A-Za-z_])
    | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<word>[A-Za-z_](?:[\w./:-]*(?:`[^`]*`)?)*)
    | (?P<sign><=|>=|!=|<>|==|[=<>(),-])
    | (?P<end>$)
    )""",
    re.VERBOSE,
)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SIGNS = {"==": "=", "<>": "!="} | {sign: sign for sign in ("=", "!=", "<", "<=", ">", ">=")}


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int
    unit: str = ""

    @property
    def low(self) -> str:
        """A word of the language, however it is written."""
        return self.text.lower() if self.kind in ("word", "sign") else ""


def parse(text: str, now: datetime, dialect: Dialect = RUNS) -> Query:
    """Read a query.

    Args:
        text: The query; an empty one asks for all runs.
        now: What ``now`` means.
        dialect: The words it is written in.

    Raises:
        Invalid: it cannot be read; the message points at the place.
    """
    if len(text) > _LONGEST:
        raise Invalid("the query is too long", f"it has {len(text)} characters", f"use up to {_LONGEST}")
    return _Reader(text, now, dialect).query()


class _Reader:
    def __init__(self, text: str, now: datetime, dialect: Dialect) -> None:
        self._text = text
        self._now = now
        self._dialect = dialect
        self._tokens = self._split()
        self._place = 0
        self._depth = 0

    def _split(self) -> list[_Token]:
        tokens: list[_Token] = []
        at = 0
        while not tokens or tokens[-1].kind != "end":
            found = _TOKEN.match(self._text, at)
            if found is None:
                blank = re.compile(r"\s*").match(self._text, at)
                self._wrong(blank.end() if blank else at, "a field, a value or a sign")
            kind = found.lastgroup if found.lastgroup != "unit" else "number"
            assert kind is not None
            tokens.append(_Token(kind, found[kind], found.start(kind), found["unit"] or ""))
            at = found.end()
        return tokens

    # -- tokens ------------------------------------------------------------------------------------------

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self) -> _Token:
        token = self._next
        self._place += token.kind != "end"
        return token

    def _took(self, *words: str) -> bool:
        """Take the next token if it is one of these words."""
        if self._next.low in words and self._next.low:
            self._place += 1
            return True
        return False

    def _need(self, word: str) -> None:
        if not self._took(word):
            self._wrong(self._next.at, f"{word!r}")

    def _wrong(self, at: int, wanted: str) -> NoReturn:
        rest = self._text[at:].split()
        found = f"found {rest[0][:40]!r}" if rest else "it ends here"
        begin = max(0, at - 60)
        line = " ".join(self._text[begin : at + 60].splitlines())
        raise Invalid(
            f"the query cannot be read at character {at + 1}: expected {wanted}, {found}",
            f"\n  {line}\n  {' ' * (at - begin)}^",
            "write for instance: metrics.auc > 0.8 and params.depth = 6 order by metrics.auc desc limit 10",
        )

    # -- the grammar -------------------------------------------------------------------------------------

    def query(self) -> Query:
        where, order, limit = None, [], None
        if self._next.kind != "end" and self._next.low not in ("order", "limit"):
            where = self._either()
        if self._took("order"):
            self._need("by")
            order = [self._key()]
            while self._took(","):
                order.append(self._key())
        if self._took("limit"):
            token = self._take()
            if token.kind != "number" or token.unit or not token.text.isdigit():
                self._wrong(token.at, "a whole number")
            limit = int(token.text)
        if self._next.kind != "end":
            self._wrong(self._next.at, "'and', 'or', 'order by', 'limit' or the end" if where else "the end")
        return Query(where, tuple(order), limit)

    def _either(self) -> Condition:
        parts = [self._both()]
        while self._took("or"):
            parts.append(self._both())
        return reduce(lambda left, right: Both("or", left, right), parts)

    def _both(self) -> Condition:
        parts = [self._term()]
        while self._took("and"):
            parts.append(self._term())
        return reduce(lambda left, right: Both("and", left, right), parts)

    def _term(self) -> Condition:
        self._depth += 1
        if self._depth > _DEEPEST:
            self._wrong(self._next.at, f"no more than {_DEEPEST} conditions inside each other")
        try:
            if self._took("not"):
                return Not(self._term())
            if self._took("("):
                inner = self._either()
                self._need(")")
                return inner
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Condition:
        field = self._field()
        sign = _SIGNS.get(self._next.low)
        if sign is not None:
            self._take()
            return Compare(field, sign, (self._value(field),))
        if self._took("is"):
            other = self._took("not")
            self._need("null")
            missing = Compare(field, "null", ())
            return Not(missing) if other else missing
        other = self._took("not")
        like = self._dialect.likes.get(self._next.low)
        if like is not None:
            self._take()
            token = self._take()
            if token.kind != "text":
                self._wrong(token.at, "a text in quotes, with % for anything")
            found = Compare(field, like, (_unquoted(token.text),))
        elif self._took("in"):
            self._need("(")
            values = [self._value(field)]
            while self._took(","):
                values.append(self._value(field))
            self._need(")")
            found = Compare(field, "in", tuple(values))
        else:
            self._wrong(
                self._next.at, "'like' or 'in'" if other else "=, !=, <, <=, >, >=, 'like', 'in' or 'is'"
            )
        return Not(found) if other else found

    def _key(self) -> Order:
        field = self._field()
        if self._took("desc"):
            return Order(field, descending=True)
        self._took("asc")
        return Order(field, descending=False)

    def _field(self) -> Field:
        token = self._take()
        head, dot, name = token.text.partition(".")
        known, kind = self._dialect, self._dialect.kinds.get(head.lower())
        if token.kind == "word" and dot and kind is not None:
            if name.count("`") == 2 and name[0] == name[-1] == "`":
                name = name[1:-1]
            if name and "`" not in name and (kind or name.lower() in known.columns):
                return Field(kind, name if kind else name.lower())
            self._wrong(token.at + len(head) + 1, f"a name after '{head}.'")
        if token.low in known.columns:
            return Field("", token.low)
        return self._wrong(
            token.at,
            f"a field: {', '.join([*(f'{kind}.NAME' for kind in known.kinds), *known.columns])}",
        )

    def _value(self, field: Field) -> Value:
        token = self._take()
        value: Value
        if token.kind == "number":
            value = float(token.text) * _SECONDS.get(token.unit, 1)
        elif token.kind == "text":
            value = _unquoted(token.text)
        elif token.low in ("true", "false"):
            value = token.low
        elif token.low == "now":
            value = self._now - self._ago()
        else:
            self._wrong(token.at, "a value: a number, a text in quotes, a span like 7d, now")
        if (not field.kind and field.name in self._dialect.moments) and isinstance(value, str):
            try:
                value = utc(datetime.fromisoformat(value))
            except ValueError:
                self._wrong(token.at, "a moment like '2026-01-31' or '2026-01-31T12:00'")
        needed = self._dialect.strict.get(field.kind or field.name)
        if needed is not None and not isinstance(value, needed):
            wanted = {str: "a text in quotes", float: "a number", datetime: "a moment: a text, or now - 7d"}
            self._wrong(token.at, wanted[needed])
        return value

    def _ago(self) -> timedelta:
        """``- 7d`` after ``now``; the sign may stick to the number."""
        apart = self._took("-")
        token = self._next
        if token.kind == "number" and token.unit and (apart or token.text.startswith("-")):
            self._take()
            return timedelta(seconds=abs(float(token.text)) * _SECONDS[token.unit])
        if apart:
            self._wrong(token.at, "a span like 7d")
        return timedelta(0)


def _unquoted(text: str) -> str:
    return text[1:-1].replace(text[0] * 2, text[0])
