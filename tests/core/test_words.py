"""Clock, catalog, schema, errors and plain data."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelworks.core.batch import Batch
from modelworks.core.catalog import Catalog
from modelworks.core.clock import FrozenClock, new_id, system_clock, utc
from modelworks.core.errors import Conflict, Denied, Invalid, ModelworksError, NotFound, NotReady, Unavailable
from modelworks.core.plain import plain, to_json
from modelworks.core.schema import Bool, Field, Kind, Number, Text, Time, as_field

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


def test_clocks_are_aware() -> None:
    assert system_clock().tzinfo is UTC
    clock = FrozenClock(NOW)
    clock.advance(timedelta(hours=2))
    assert clock() == NOW + timedelta(hours=2)
    assert utc(datetime(2024, 5, 1, 12)) == NOW
    assert utc(datetime(2024, 5, 1, 14, tzinfo=timezone(timedelta(hours=2)))) == NOW


def test_ids_are_unique_and_sort_by_time() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    made = [new_id() for _ in range(100_000)]  # more than fit into one millisecond's sequence
    assert len(set(made)) == len(made)
    assert made == sorted(made)
    assert {len(one) for one in made} == {26}
    stamp = datetime.fromtimestamp(int(made[0][:12], 16) / 1000, UTC)
    assert before <= stamp <= datetime.now(UTC)


@dataclass(frozen=True)
class Plug:
    name: str


PLUG = Plug("plug")


def test_a_catalog_loads_what_is_used() -> None:
    catalog: Catalog[Kind] = Catalog(
        "nothing", {"kind": "modelworks.core.schema:Kind", "broken": "modelworks.nowhere:Thing"}
    )
    assert list(catalog) == ["broken", "kind"]
    assert catalog["kind"] is Kind
    with pytest.raises(NotFound, match="there is no nothing called 'other'; known: broken, kind"):
        catalog["other"]
    with pytest.raises(ModuleNotFoundError):
        catalog["broken"]


def test_a_guest_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "guestplug.py").write_text("PLUG = 'from afar'\n")
    info = tmp_path / "guestplug-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guestplug\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[modelworks.nothing]\nguest = guestplug:PLUG\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    catalog: Catalog[str] = Catalog("nothing", {})
    assert list(catalog) == ["guest"]
    assert catalog["guest"] == "from afar"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (str, Field("c", Kind.TEXT)),
        (float, Field("c", Kind.NUMBER)),
        (int, Field("c", Kind.INTEGER)),
        (bool, Field("c", Kind.BOOL)),
        (datetime, Field("c", Kind.TIME)),
        (date, Field("c", Kind.TIME)),
        (Number(min=0, max=2, nullable=True), Field("c", Kind.NUMBER, True, 0, 2)),
        (Number(integer=True), Field("c", Kind.INTEGER)),
        (Text(allowed=["a", "b"]), Field("c", Kind.TEXT, allowed=("a", "b"))),
        (Bool(nullable=True), Field("c", Kind.BOOL, True)),
        (Time(), Field("c", Kind.TIME)),
    ],
)
def test_a_column_of_a_contract(spec: object, field: Field) -> None:
    assert as_field("c", spec) == field  # type: ignore[arg-type]
    assert Field.from_json(field.to_json()) == field


@pytest.mark.parametrize("spec", [list, "str", None, 3, Path])
def test_a_column_without_a_known_type(spec: object) -> None:
    with pytest.raises(Invalid, match="no known type"):
        as_field("c", spec)  # type: ignore[arg-type]


@given(
    st.builds(
        Field,
        st.text(min_size=1),
        st.sampled_from(Kind),
        st.booleans(),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.none() | st.integers(-(2**53), 2**53),
        st.lists(st.text()).map(tuple),
    )
)
def test_a_field_survives_json(field: Field) -> None:
    try:
        data = plain(field.to_json())
    except TypeError:
        return  # a lone surrogate is no text
    assert Field.from_json(data) == field


@pytest.mark.parametrize("kind", [NotFound, Conflict, Invalid, NotReady, Denied, Unavailable])
def test_errors_say_what_why_and_fix(kind: type[ModelworksError]) -> None:
    error = kind("it broke", "because", "mend it")
    assert str(error) == "it broke; because; mend it"
    assert str(kind("it broke")) == "it broke"
    assert error.to_json() == {"code": kind.code, "what": "it broke", "why": "because", "fix": "mend it"}


def test_error_codes_are_each_their_own() -> None:
    kinds = {NotFound, Conflict, Invalid, NotReady, Denied, Unavailable}
    assert len({kind.code for kind in kinds}) == len(kinds)


def test_plain_data() -> None:
    value = {
        "n": np.float32(1.5), "i": np.int64(3), "nan": float("nan"), "set": {2, 1}, "at": NOW,
        "tuple": (1, 2), "array": np.arange(3), "plug": PLUG, "path": Path("a/b"),
        "field": Field("c", Kind.BOOL), 4: None,
    }  # fmt: skip
    assert plain(value) == {
        "n": 1.5, "i": 3, "nan": None, "set": [1, 2], "at": "2024-05-01T12:00:00+00:00", "tuple": [1, 2],
        "array": [0, 1, 2], "plug": {"name": "plug"}, "path": "a/b", "4": None,
        "field": plain(vars(Field("c", Kind.BOOL))),
    }  # fmt: skip
    assert to_json({"a": 1}, indent=True) == b'{\n  "a": 1\n}'


def test_a_batch_takes_rows() -> None:
    batch = Batch(np.arange(6, dtype=np.float32).reshape(3, 2), np.array([["a"], ["b"], ["c"]], object))
    assert len(batch) == 3
    taken = batch.take(np.array([2, 0]))
    assert taken.numbers.tolist() == [[4, 5], [0, 1]]
    assert taken.texts.tolist() == [["c"], ["a"]]
