"""MLflow's filters and orders, read by the reader of our own search language and turned into its words.

Source: https://mlflow.org/docs/latest/search-runs/. What it writes differently: ``attributes.`` before what a thing
has of itself, the singular ``metric.``, names in double quotes, ``like`` that minds capitals and ``ilike`` that does
not, milliseconds for moments, and its own names of statuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, String, or_, true

from modelworks.api.mlflow.forms import NAME, NOTE, PARENT, STATUS
from modelworks.core.errors import Invalid
from modelworks.stores.ledger.tables import run_links
from modelworks.track.query import sql
from modelworks.track.query.grammar import parse
from modelworks.track.query.words import Both, Compare, Condition, Dialect, Field, Not, Order, Query

_LIKES = {"like": "like exactly", "ilike": "like"}
_OWN = ("attribute", "attributes", "attr", "run")
_TAGS = {"tag": "tags", "tags": "tags"}
_VALUES = {"metric": "metrics", "metrics": "metrics", "param": "params", "params": "params",
           "parameter": "params", "parameters": "params"}  # fmt: skip
_QUOTED = re.compile(r"""('(?:[^']|'')*')|(\b[A-Za-z]+\.)"([^"`]*)\"""")

RUNS = Dialect(
    kinds={**_VALUES, **_TAGS, **dict.fromkeys(_OWN, ""), "dataset": "datasets", "datasets": "datasets"},
    columns=("run_id", "run_name", "run name", "status", "start_time", "created", "end_time", "user_id",
             "artifact_uri", "experiment_id"),
    likes=_LIKES,
)  # fmt: skip
EXPERIMENTS = Dialect(
    kinds={**_TAGS, **dict.fromkeys(_OWN, "")},
    columns=("name", "experiment_id", "creation_time", "last_update_time"),
    likes=_LIKES,
)
LOGGED = Dialect(
    kinds={**_VALUES, **_TAGS, **dict.fromkeys(_OWN, "")},
    columns=("name", "model_id", "model_type", "status", "source_run_id", "creation_timestamp", "creation_time",
             "last_updated_timestamp", "last_updated_time", "experiment_id"),
    likes=_LIKES,
)  # fmt: skip
MODELS = Dialect(
    kinds={**_TAGS, **dict.fromkeys(_OWN, "")},
    columns=("name", "timestamp", "last_updated_timestamp", "creation_timestamp"),
    likes=_LIKES,
)
VERSIONS = Dialect(
    kinds={**_TAGS, **dict.fromkeys(_OWN, "")},
    columns=("name", "version_number", "version", "run_id", "source_path", "timestamp",
             "last_updated_timestamp", "creation_timestamp"),
    likes=_LIKES,
)  # fmt: skip


def read(text: str, order: Sequence[str], dialect: Dialect, now: datetime) -> Query:
    """Read a filter, and keys to order by.

    Raises:
        Invalid: they cannot be read.
    """
    keyed = _QUOTED.sub(lambda m: m[1] or f"{m[2]}`{m[3]}`", text)
    where = parse(keyed, now, dialect)
    if where.order or where.limit is not None:
        raise Invalid("a filter has no order and no limit", "", "send order_by and max_results")
    wanted = ", ".join(_QUOTED.sub(lambda m: m[1] or f"{m[2]}`{m[3]}`", one) for one in order if one.strip())
    keys = parse(f"order by {wanted}", now, dialect).order if wanted else ()
    return Query(where.where, keys)


def changed(given: Condition, change: Callable[[Compare], Condition]) -> Condition:
    """A condition with every comparison changed."""
    match given:
        case Both(by, left, right):
            return Both(by, changed(left, change), changed(right, change))
        case Not(inner):
            return Not(changed(inner, change))
        case Compare():
            return change(given)


# -- runs ------------------------------------------------------------------------------------------------

_RUN_COLUMNS = {"run_id": "id", "run_name": "name", "run name": "name", "status": "status",
                "start_time": "started", "created": "started", "end_time": "ended"}  # fmt: skip
_RUN_TAGS = {NAME: "name", NOTE: "note", PARENT: "parent"}
_LINKED = {"name": "name", "digest": "digest", "context": "context"}


def of_runs(db: Connection, query: Query, experiments: Sequence[str]) -> Query:
    """A query of MLflow's as one of ours, over some experiments.

    Raises:
        Invalid: it asks for something that runs do not have.
    """
    among: Condition = Compare(Field("", "experiment"), "in", tuple(experiments))
    if query.where is not None:
        among = Both("and", among, changed(query.where, lambda one: _of_run(db, one)))
    keys = tuple(Order(_run_field(key.field), key.descending) for key in query.order)
    return Query(among, keys or (Order(Field("", "started"), True),))


def _run_field(field: Field) -> Field:
    if field.kind == "tags":
        return Field("", _RUN_TAGS[field.name]) if field.name in _RUN_TAGS else field
    if field == Field("", "user_id"):
        return Field("tags", "mlflow.user")
    if not field.kind:
        if field.name not in _RUN_COLUMNS:
            raise Invalid(f"runs are not found by {field.name!r}", "", f"there are {', '.join(_RUN_COLUMNS)}")
        return Field("", _RUN_COLUMNS[field.name])
    if field.kind == "datasets":
        raise Invalid("runs are not ordered by datasets", "", "")
    return field


def _of_run(db: Connection, one: Compare) -> Condition:
    if one.field.kind == "datasets":
        return _of_dataset(db, one)
    field = _run_field(one.field)
    if field == Field("", "status"):
        return _of_status(field, one)
    if not field.kind and field.name in ("started", "ended"):
        return Compare(field, one.by, tuple(_moment(value) for value in one.values))
    if field.kind == "params":  # they are texts there, and compared as such
        return Compare(field, one.by, tuple(_text(value) for value in one.values))
    if field.kind == "metrics" and not all(isinstance(value, float) for value in one.values):
        raise Invalid(f"metric {field.name!r} is a number", "", "compare it with one")
    if field.kind == "tags" or not field.kind:
        return Compare(field, one.by, tuple(_text(value) for value in one.values))
    return Compare(field, one.by, one.values)


def _of_status(field: Field, one: Compare) -> Condition:
    """Two of ours are one of theirs."""
    named = tuple(ours for ours, theirs in STATUS.items() if theirs in {str(v).upper() for v in one.values})
    if one.by not in ("=", "!=", "in") or not named:
        raise Invalid("a status is compared by =, != or in", "", f"there are {', '.join(STATUS.values())}")
    found = Compare(field, "in", named)
    return Not(found) if one.by == "!=" else found


def _of_dataset(db: Connection, one: Compare) -> Condition:
    """The runs that took in a dataset: they are looked up first."""
    if one.field.name not in _LINKED:
        raise Invalid(f"datasets have no {one.field.name!r}", "", f"there are {', '.join(_LINKED)}")
    l = run_links.c  # noqa: E741
    value = l.detail[one.field.name].as_string()
    held = sql.of_rows(lambda _field: value)(Compare(one.field, one.by, tuple(map(_text, one.values))))
    found = db.scalars(
        run_links.select().with_only_columns(l.run).where(l.role == "dataset", held).distinct()
    )
    return Compare(Field("", "id"), "in", tuple(found) or ("",))


# -- things that stand in one row --------------------------------------------------------------------------


def of_rows(
    query: Query, columns: Mapping[str, ColumnElement[Any]], kinds: Mapping[str, ColumnElement[Any]],
    change: Callable[[Compare], ColumnElement[bool] | None] = lambda _one: None,
) -> tuple[ColumnElement[bool], list[ColumnElement[Any]]]:  # fmt: skip
    """A query as SQL over one table: the condition, and what to order by.

    Args:
        query: The query.
        columns: Names of what a thing has of itself, to columns.
        kinds: ``tags`` and the like, to the columns of JSON that hold them.
        change: Makes a condition of a comparison that is not one of a column; ``None`` where it is.

    Raises:
        Invalid: it asks for something that there is not.
    """

    def where(field: Field, number: bool = False) -> ColumnElement[Any]:
        if field.kind:
            if '"' in field.name or field.kind not in kinds:
                raise Invalid(f"nothing is found by {field.kind}.{field.name[:80]}", "", "")
            held: Any = kinds[field.kind][field.name]
            return held.as_float() if number or field.kind == "metrics" else held.as_string()  # type: ignore[no-any-return]
        if field.name not in columns:
            raise Invalid(f"nothing is found by {field.name!r}", "", f"there are {', '.join(columns)}")
        return columns[field.name]

    def compare(one: Compare) -> ColumnElement[bool]:
        special = change(one)
        if special is not None:
            return special
        column = where(one.field)
        values: Sequence[Any] = one.values
        if one.by != "null":
            kind = str(column.type)
            if kind == "DATETIME":
                values = [_moment(value) for value in values]
            elif isinstance(column.type, String):
                values = [_text(value) for value in values]
            elif not all(isinstance(value, float) for value in values):
                values = [_number(value) for value in values]
        return sql.of_rows(lambda _field: column)(Compare(one.field, one.by, tuple(values)))

    held = true() if query.where is None else sql.condition(query.where, compare)
    keys: list[ColumnElement[Any]] = []
    for key in query.order:
        column = where(key.field)
        keys.append((column.desc() if key.descending else column.asc()).nulls_last())
    return held, keys


def lacking(column: ColumnElement[Any], one: Compare) -> ColumnElement[bool]:
    """A ``!=`` that also holds where there is no value, as MLflow asks of the tag that marks prompts."""
    return or_(column.is_(None), column != _text(one.values[0]))


def _moment(value: Any) -> datetime:
    """Milliseconds as a moment."""
    try:
        return datetime.fromtimestamp(float(value) / 1000, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise Invalid(f"{str(value)[:40]!r} is no time", "", "give milliseconds since 1970") from None


def _text(value: Any) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    return str(value)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise Invalid(f"{str(value)[:40]!r} is no number", "", "compare it with one") from None
