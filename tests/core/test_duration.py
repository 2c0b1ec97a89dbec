"""Moments as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from modelworks.core.duration import duration, moment
from modelworks.core.errors import Invalid


def test_a_moment_is_a_time_or_that_long_ago() -> None:
    now = datetime(2024, 5, 1, 12, tzinfo=UTC)
    assert moment("2h", now) == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert moment("2024-04-30", now) == datetime(2024, 4, 30, tzinfo=UTC)
    assert moment("2024-04-30T10:00:00+02:00", now) == datetime(2024, 4, 30, 8, tzinfo=UTC)
    with pytest.raises(Invalid, match="is no time"):
        moment("yesterday", now)


@pytest.mark.parametrize(
    "text", ["0d", "-1d", "0.0000001s", "400000d", "1e300w", "nand", "infd", "d", "", "1y"]
)
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    """Nor one by which nothing can be divided, or that leads out of the calendar."""
    with pytest.raises(Invalid, match="is not a duration"):
        duration(text)
