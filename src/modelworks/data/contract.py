"""Holding rows against a contract: what fits is typed, what does not gets its reason. All vectorised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from modelworks.core.errors import Invalid
from modelworks.core.schema import Field, Kind, OnBreach
from modelworks.data.checks import in_order
from modelworks.data.checks.port import RowRule, raw

TYPES: Mapping[Kind, pl.DataType] = {
    Kind.NUMBER: pl.Float64(),
    Kind.INTEGER: pl.Int64(),
    Kind.TEXT: pl.String(),
    Kind.BOOL: pl.Boolean(),
    Kind.TIME: pl.Datetime("us", "UTC"),
}

BAD: Mapping[str, pl.DataType] = {
    "row": pl.String(),
    "reason": pl.String(),
    "column": pl.String(),
    "value": pl.String(),
    "number": pl.Int64(),
}
"""What is kept of a bad row: all of it, as JSON text; what is wrong with which value; the row's number."""

EARLIER = "came before, and is the key"
LATER = "comes again further on, and is the key"

_SECONDS = len("2024-05-01T12:00:00")
_UTC = ("Z", "+00:00", "+0000", ".000000Z", ".000000+00:00", ".000000+0000")

_REASON = "\x00reason"
_COLUMN = "\x00column"
_ROW = "\x00row"


class Rejected(Invalid):
    """A rule was broken that lets nothing in of what came with it."""


@dataclass(frozen=True)
class Held:
    """Rows held against a contract.

    Attributes:
        good: Those that fit, typed, with the contract's columns in order.
        bad: Those that do not, with the columns `BAD`; ``number`` counts from 0 within the frame.
        warned: Of good rows, what is wrong with how many: they were let in all the same.
    """

    good: pl.DataFrame
    bad: pl.DataFrame
    warned: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Broken:
    """One rule, as it is applied to rows."""

    column: str | None
    rows: pl.Expr
    says: str
    then: OnBreach

    @property
    def reason(self) -> str:
        return self.says if self.column is None else f"{self.column} {self.says}"


def _rules(contract: Mapping[str, Field], key: str | None, more: Sequence[RowRule]) -> list[_Broken]:
    """All rules, in the order in which a row meets them."""
    rules = [
        _Broken(
            column.name, broken, check.says(column),
            "quarantine" if column.on_breach == "warn" and not check.spares else column.on_breach,
        )
        for check in in_order()
        for column in contract.values()
        if (broken := check.breaks(column)) is not None
    ]  # fmt: skip
    if key is not None and contract[key].nullable:
        rules.append(_Broken(key, pl.col(key).is_null(), "is missing, and is the key", "quarantine"))
    return rules + [_Broken(None, rule.broken, rule.says, rule.on_breach) for rule in more]


def require(columns: Sequence[str], contract: Mapping[str, Field]) -> None:
    """Make sure that rows with these columns can fit a contract at all.

    Raises:
        Invalid: a column that must not be null is not there.
    """
    missing = [name for name, field in contract.items() if name not in columns and not field.nullable]
    if missing:
        columns_are = "columns are" if len(missing) > 1 else "column is"
        raise Invalid(
            f"{', '.join(missing)}: the contract's {columns_are} missing",
            f"the rows have {', '.join(columns[:50]) or 'none'}",
            "mend the source, or declare the column nullable",
        )


def hold(
    frame: pl.DataFrame,
    contract: Mapping[str, Field],
    key: str | None,
    rules: Sequence[RowRule] = (),
    *,
    last: bool = False,
) -> Held:
    """Hold the rows of one frame against a contract.

    The first rule that a row breaks is its reason.

    Args:
        frame: The rows, as they came.
        contract: What they should be.
        key: Column that names a row.
        rules: What should hold between their columns.
        last: Of good rows with the same key, let the last one stay, and not the first; the others are bad.

    Raises:
        Invalid: a column that must not be null is not there at all.
        Rejected: a rule is broken that lets nothing in.
    """
    require(frame.columns, contract)
    absent = [pl.lit(None).alias(name) for name in contract if name not in frame.columns]
    rows = frame.with_columns(absent) if absent else frame
    schema = rows.schema
    typed = rows.select(
        *(_typed(field, schema[name]).alias(name) for name, field in contract.items()),
        *(_raw(name, schema[name]).alias(raw(name)) for name in contract),
    )
    broken = _rules(contract, key, rules)
    strict = [rule for rule in broken if rule.then != "warn"]
    # Most rows fit: only of those that do not, the reason is looked for.
    flags = typed.select(rule.rows.fill_null(value=False).alias(str(n)) for n, rule in enumerate(strict))
    breaks = flags.select(pl.any_horizontal(pl.all())).to_series()
    good = typed.select(list(contract)).with_row_index(_ROW)
    said = []
    if breaks.any():
        _let_nothing_in(flags, strict)
        said.append(_reasons(good[_ROW].filter(breaks), flags.filter(breaks), strict))
        good = good.filter(~breaks)
    # Different hashes, at a fifth of the cost, say that the keys are different.
    if key is not None and good[key].hash().n_unique() < len(good):
        stays = good[key].is_last_distinct() if last else good[key].is_first_distinct()
        again = good[_ROW].filter(~stays).to_frame()
        said.append(again.with_columns(_said(key, f"{key} {LATER if last else EARLIER}")))
        good = good.filter(stays)
    refused = pl.concat(said).sort(_ROW) if said else pl.DataFrame()
    warned = _warned(good, [rule for rule in broken if rule.then == "warn"])
    return Held(good.drop(_ROW), _bad(frame, refused), warned)


def _let_nothing_in(flags: pl.DataFrame, rules: Sequence[_Broken]) -> None:
    for n, rule in enumerate(rules):
        if rule.then == "reject" and (many := int(flags[str(n)].sum())):
            raise Rejected(
                f"the contract lets nothing in: {rule.reason}",
                f"in {many:,} of {len(flags):,} rows",
                "mend the source, or let the rule say on_breach='quarantine'",
            )


def _warned(good: pl.DataFrame, rules: Sequence[_Broken]) -> dict[str, int]:
    if not rules:
        return {}
    counts = good.select(rule.rows.fill_null(value=False).sum().alias(str(n)) for n, rule in enumerate(rules))
    return {rule.reason: many for rule, many in zip(rules, counts.row(0), strict=True) if many}


def _reasons(rows: pl.Series, flags: pl.DataFrame, rules: Sequence[_Broken]) -> pl.DataFrame:
    """The first rule that each row breaks."""
    whens = [(pl.when(str(n)), _said(rule.column, rule.reason)) for n, rule in enumerate(rules)]
    first = [pl.coalesce(when.then(said[part]) for when, said in whens) for part in range(2)]
    return flags.select(rows, *first)


def _said(column: str | None, reason: str) -> tuple[pl.Expr, pl.Expr]:
    return pl.lit(column, pl.String).alias(_COLUMN), pl.lit(reason).alias(_REASON)


def strangers(frame: pl.DataFrame, contract: Mapping[str, Field]) -> dict[str, str]:
    """Columns that a contract does not know, with what it could say of each."""
    return {name: _offer(frame[name]) for name in frame.columns if name not in contract}


def _offer(values: pl.Series) -> str:
    """A declaration that the first values of a column fit."""
    if values.dtype.is_float() or values.dtype == pl.Boolean:
        return f"mw.{'Bool' if values.dtype == pl.Boolean else 'Number'}(nullable=True)"
    some = values.drop_nulls().head(_LOOKED_AT)
    fits = [
        f"mw.{spec}nullable=True)"
        for kind, spec in _OFFERS.items()
        if not some.to_frame("c").select(_typed(Field("c", kind), some.dtype).alias("c"))["c"].null_count()
    ]
    return fits[0] if fits and len(some) else "mw.Text(nullable=True)"


_LOOKED_AT = 1000
_OFFERS = {
    Kind.INTEGER: "Number(integer=True, ",
    Kind.NUMBER: "Number(",
    Kind.TIME: "Time(",
    Kind.BOOL: "Bool(",
    Kind.TEXT: "Text(",
}
"""What a new column could be, the narrowest first."""


def as_typed(frame: pl.DataFrame, contract: Mapping[str, Field]) -> pl.DataFrame:
    """The contract's columns of rows that have them all, typed; null where a value does not fit."""
    schema = frame.schema
    return frame.select(_typed(field, schema[name]).alias(name) for name, field in contract.items())


def refuse(rows: pl.DataFrame, column: str | None, reason: str) -> pl.DataFrame:
    """What is kept of rows that are refused for one reason: see `BAD`."""
    broken = pl.DataFrame({_ROW: pl.Series(range(len(rows)), dtype=pl.UInt32)})
    return _bad(rows, broken.with_columns(_said(column, reason)))


def _bad(frame: pl.DataFrame, broken: pl.DataFrame) -> pl.DataFrame:
    """What is kept of broken rows: see `BAD`."""
    if not len(broken):
        return pl.DataFrame(schema=BAD)
    rows = frame[broken[_ROW]].with_columns(broken[_COLUMN], broken[_REASON], broken[_ROW])
    columns = frame.columns
    rows = rows.with_columns(_writable(name, rows[name]) for name in columns)
    named = [name for name in broken[_COLUMN].unique() if name in columns]
    values = [pl.when(pl.col(_COLUMN) == name).then(_text(name, rows.schema[name])) for name in named]
    return rows.select(
        pl.struct(columns).struct.json_encode().alias("row"),
        pl.col(_REASON).alias("reason"),
        pl.col(_COLUMN).alias("column"),
        pl.coalesce(*values, pl.lit(None, pl.String)).alias("value"),
        pl.col(_ROW).cast(pl.Int64).alias("number"),
    )


def _writable(name: str, values: pl.Series) -> pl.Expr | pl.Series:
    """A column as JSON can hold it: it has no bytes, no infinity, no NaN, and none may be lost."""
    if values.dtype == pl.Binary:
        return pl.col(name).bin.encode("base64")
    if values.dtype.is_float() and not values.is_finite().all():
        return pl.col(name).cast(pl.String)
    if values.dtype == pl.Object or (values.dtype.is_nested() and "Binary" in str(values.dtype)):
        return pl.Series(name, [None if value is None else repr(value) for value in values], pl.String)
    return pl.col(name)


def _text(name: str, kind: pl.DataType) -> pl.Expr:
    """A value as text; of a value that is several, its JSON."""
    if kind.is_nested() or kind == pl.Duration:
        return pl.struct(name).struct.json_encode()
    return pl.col(name).cast(pl.String)


def _raw(name: str, kind: pl.DataType) -> pl.Expr:
    """A column as it came; a NaN among numbers is a missing value, as everywhere."""
    return pl.col(name).fill_nan(None) if kind.is_float() else pl.col(name)


def _typed(field: Field, kind: pl.DataType) -> pl.Expr:
    """A column as the contract's type; null where a value does not fit."""
    column, wanted = pl.col(field.name), TYPES[field.kind]
    if kind.is_nested() or kind in (pl.Object, pl.Duration, pl.Binary):
        return pl.lit(None, wanted)
    match field.kind:
        case Kind.TEXT:
            typed = column if kind == pl.String else _raw(field.name, kind).cast(pl.String)
        case Kind.NUMBER | Kind.INTEGER:
            typed = _number(column, kind, whole=field.kind is Kind.INTEGER)
        case Kind.BOOL:
            typed = _bool(column, kind)
        case Kind.TIME:
            typed = _time(column, kind)
    return typed.cast(wanted, strict=False)


def _number(column: pl.Expr, kind: pl.DataType, *, whole: bool) -> pl.Expr:
    if kind == pl.String:
        text = column.str.strip_chars()
        number = text.cast(pl.Float64, strict=False).fill_nan(None)
        # Whole numbers directly: on the way over floats those above 2^53 would change.
        return pl.coalesce(text.cast(pl.Int64, strict=False), _whole(number)) if whole else number
    if kind.is_float():
        return _whole(column.fill_nan(None)) if whole else column.fill_nan(None)
    if kind.is_decimal() and whole:
        return pl.when(column == column.round()).then(column)
    if kind.is_numeric() or kind in (pl.Boolean, pl.Null):
        return column
    return pl.lit(None, pl.Float64)


def _whole(number: pl.Expr) -> pl.Expr:
    return pl.when(number == number.round()).then(number).cast(pl.Int64, strict=False)


def _bool(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    if kind in (pl.Boolean, pl.Null):
        return column
    if kind == pl.String:
        text = column.str.strip_chars().str.to_lowercase()
        known = {"true": True, "1": True, "false": False, "0": False}
        return text.replace_strict(known, default=None, return_dtype=pl.Boolean)
    if kind.is_numeric():
        return pl.when(column == 1).then(True).when(column == 0).then(False)
    return pl.lit(None, pl.Boolean)


def _time(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    if isinstance(kind, pl.Datetime):
        return column.dt.convert_time_zone("UTC") if kind.time_zone else column.dt.replace_time_zone("UTC")
    if kind == pl.Date:
        return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if kind == pl.String:
        return column.map_batches(_times, return_dtype=pl.Datetime("us", "UTC"))
    return pl.lit(None, pl.Datetime("us", "UTC"))


def _times(column: pl.Series) -> pl.Series:
    """Texts as times: ISO 8601 with a zone; without one it is taken as UTC; to the minute; only a day."""
    plain = _plain_times(column)
    if plain is not None:
        return plain
    text = column.str.strip_chars()
    found = text.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    # What one form takes half the time of all the others together: they are tried only where values are left.
    for form in ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d"):
        if found.null_count() == text.null_count():
            break
        spaced = text.str.replace("T", " ")
        if form == "%Y-%m-%d":
            times = text.str.to_date(form, strict=False).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        else:
            times = spaced.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False)
        found = found.fill_null(times)
    return found


def _plain_times(column: pl.Series) -> pl.Series | None:
    """Times that are all whole seconds of UTC, written alike, at half the cost; ``None`` if any is not."""
    first = column.first()
    if not isinstance(first, str) or first[_SECONDS:] not in _UTC:
        return None
    end = first[_SECONDS:]
    if not (column.str.ends_with(end) & (column.str.len_bytes() == len(first))).all():
        return None
    text = column.str.slice(0, _SECONDS)
    found = text.str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False)
    return None if found.null_count() else found.dt.replace_time_zone("UTC")
