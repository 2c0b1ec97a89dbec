"""Moments as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from modelworks.core.duration import moment
from modelworks.core.errors import Invalid


def test_a_moment_is_a_time_or_that_long_ago() -> None:
    now = datetime(2024, 5, 1, 12, tzinfo=UTC)
    assert moment("2h", now) == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert moment("2024-04-30", now) == datetime(2024, 4, 30, tzinfo=UTC)
    assert moment("2024-04-30T10:00:00+02:00", now) == datetime(2024, 4, 30, 8, tzinfo=UTC)
    with pytest.raises(Invalid, match="is no time"):
        moment("yesterday", now)
