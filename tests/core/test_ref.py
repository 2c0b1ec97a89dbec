"""References and segments survive the way to text and back."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelworks.core.errors import Invalid
from modelworks.core.ref import NAME, Ref, check_name, parse_segment, segment_text

names = st.from_regex(NAME, fullmatch=True).filter(lambda name: ".." not in name)
values = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
segments = st.lists(values, max_size=5).map(tuple)
ats = (
    st.none()
    | st.integers(0, 10**17)
    | names
    | st.sampled_from(["2013-06", "0123", "latest", "2013-06-01T10:00"])
)


@given(segments)
@example(("\x00",))
@example(("",))
@example(("%",))
def test_a_segment_comes_back(segment: tuple[str, ...]) -> None:
    text = segment_text(segment)
    assert parse_segment(text) == segment
    assert not set(text) & set("[]@/\n")


@given(segments, segments)
def test_two_segments_never_share_a_text(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert (segment_text(one) == segment_text(other)) == (one == other)


@given(names, segments, ats)
def test_a_reference_comes_back(name: str, segment: tuple[str, ...], at: int | str | None) -> None:
    ref = Ref(name, segment, at)
    if len(str(ref)) <= 2000:
        assert Ref.parse(str(ref)) == ref


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    try:
        ref = Ref.parse(text)
    except Invalid:
        return
    assert Ref.parse(str(ref)) == ref


def test_what_people_write() -> None:
    assert Ref.parse("flights@12") == Ref("flights", (), 12)
    assert Ref.parse(" flights@latest ") == Ref("flights", (), "latest")
    assert Ref.parse("flights@2013-06") == Ref("flights", (), "2013-06")
    assert Ref.parse("delay[UA,EWR]@champion") == Ref("delay", ("UA", "EWR"), "champion")
    assert segment_text(("São Paulo", "a,b", "")) == "S%C3%A3o Paulo,a%2Cb,%"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@3",
        "a@",
        "../etc",
        "a/b",
        "a b",
        "1a",
        "a[b",
        "a]b[",
        "a@b@c",
        "a..b",
        "a@..",
        "a@x/y",
        "a" * 101,
    ],
)
def test_what_no_reference_is(text: str) -> None:
    with pytest.raises(Invalid):
        Ref.parse(text)


def test_names_cannot_be_paths() -> None:
    for name in ("..", "a/../b", "/etc/passwd", "a\\b", ".hidden", "a\x00b", "name\n"):
        with pytest.raises(Invalid):
            check_name(name)
