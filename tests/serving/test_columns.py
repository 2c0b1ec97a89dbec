"""Decoding where the live versions of a model differ, and odd column names."""

from __future__ import annotations

import json

import pytest

from modelworks.core.errors import Invalid
from modelworks.core.schema import Field, Kind
from modelworks.models.signature import Signature
from modelworks.serving.columns import Rows, as_text, merge


def make(*signatures: Signature, per: tuple[str, ...] = ()) -> Rows:
    return Rows(merge(signatures, per, None, None, frozenset(), {"store": Kind.INTEGER}))


def signed(**kinds: Kind) -> Signature:
    return Signature(tuple(Field(name, kind) for name, kind in kinds.items()), "binary", (0, 1))


def test_a_version_checks_what_its_siblings_do_not_need() -> None:
    old, new = signed(a=Kind.NUMBER, b=Kind.NUMBER), signed(a=Kind.NUMBER, b=Kind.TEXT, c=Kind.BOOL)
    rows = make(old, new)
    (row,) = rows.decode(b'{"rows": [{"a": 1, "b": 2}]}')
    check_old, check_new = rows.checker(old), rows.checker(new)
    assert check_old is not None
    assert check_new is not None
    check_old(row, 0)
    with pytest.raises(Invalid, match="column 'b'"):
        check_new(row, 0)
    (row,) = rows.decode(b'{"rows": [{"a": 1, "b": "x"}]}')
    with pytest.raises(Invalid, match=r"column 'c'.*does not have it"):
        check_new(row, 0)
    (row,) = rows.decode(b'{"rows": [{"a": 1, "b": "x", "c": true}]}')
    check_new(row, 0)
    assert rows.reader(["a", "b", "c"])(row) == (1.0, "x", True)


def test_versions_that_agree_need_no_check() -> None:
    assert make(signed(a=Kind.NUMBER), signed(a=Kind.NUMBER)).checker(signed(a=Kind.NUMBER)) is None


def test_integers_and_numbers_are_both_numbers() -> None:
    rows = make(signed(a=Kind.NUMBER), signed(a=Kind.INTEGER))
    assert rows.reader(["a"])(rows.decode(b'{"rows": [{"a": 3}]}')[0]) == (3.0,)


def test_columns_may_be_called_anything() -> None:
    names = ["wind speed", "class", "größe", "a.b", "c0"]
    rows = make(signed(**dict.fromkeys(names, Kind.NUMBER)))
    (row,) = rows.decode(json.dumps({"rows": [dict(zip(names, range(5), strict=True))]}).encode())
    assert rows.reader(names)(row) == (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("value", "text"), [("x", "x"), (12.0, "12"), (True, "true"), (None, ""), (1.5, "1.5")]
)
def test_per_values_as_text(value: object, text: str) -> None:
    assert as_text(value) == text


def test_a_column_that_routes_has_the_kind_of_the_contract() -> None:
    rows = make(signed(a=Kind.NUMBER), per=("store",))
    assert rows.reader(["store"])(rows.decode(b'{"rows": [{"a": 1, "store": 12}]}')[0]) == (12.0,)
    with pytest.raises(Invalid, match="column 'store'"):
        rows.decode(b'{"rows": [{"a": 1, "store": "12"}]}')
