"""Moments: every text that the `date-time` format admits is a moment, in the order it means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.wire.moments import moment

FORMAT = jsonschema_rs.Draft202012Validator({"type": "string", "format": "date-time"}, validate_formats=True)
zones = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=zones), st.booleans())  # noqa: DTZ001 (naive bounds)
def test_a_moment_is_the_same_instant(said: datetime, small: bool) -> None:
    """A caller's offset must not move a call into another day."""
    text = said.isoformat()
    assert moment(text.lower() if small else text) == said


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, 999999, UTC)),
        ("2016-12-31t23:59:60.5z", datetime(2016, 12, 31, 23, 59, 59, 999999, UTC)),
        ("2026-01-01T00:00:00.123456789Z", datetime(2026, 1, 1, 0, 0, 0, 123456, UTC)),
        ("0000-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00+23:59", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59-23:59", datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)),
    ],
)
def test_what_python_has_no_name_for_is_the_nearest_moment(text: str, meant: datetime) -> None:
    """The document admits these, so none of them may be an error of the server."""
    assert FORMAT.is_valid(text)
    assert moment(text) == meant
