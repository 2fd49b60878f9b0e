"""How long the gateway waits between attempts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.attempts import Patience
from app.gateway.failures import LONGEST_WAIT_S, seconds


@given(st.integers(0, 20), st.floats(0.01, 5), st.floats(0.01, 60))
def test_a_backoff_doubles_up_to_the_longest(repetition: int, base: float, longest: float) -> None:
    """With jitter anything up to it, so that a herd spreads out."""
    full = min(longest, base * 2**repetition)
    assert Patience(5, base, longest, jitter=False).delay(repetition, None) == full
    waited = Patience(5, base, longest, jitter=True).delay(repetition, None)
    assert waited is not None
    assert 0 <= waited <= full


@given(st.floats(0, 100), st.floats(0.01, 60))
def test_the_providers_wait_is_kept_or_not_begun(asked: float, longest: float) -> None:
    """Never shortened: coming early is what it asked not to do."""
    waited = Patience(5, 1.0, longest, jitter=True).delay(3, asked)
    assert waited == (asked if asked <= longest else None)


@given(st.text(max_size=30))
def test_any_header_is_read(text: str) -> None:
    """A provider can send anything."""
    wait = seconds(text)
    assert wait is None or 0 <= wait <= LONGEST_WAIT_S


@pytest.mark.parametrize(
    ("text", "wait"), [("3", 3.0), ("0.5", 0.5), ("", None), (None, None), ("inf", LONGEST_WAIT_S)]
)
def test_seconds_are_read(text: str | None, wait: float | None) -> None:
    """The usual form, and decimals as some providers write."""
    assert seconds(text) == wait


def test_a_date_is_read() -> None:
    """The other form of RFC 9110."""
    wait = seconds(format_datetime(datetime.now(UTC) + timedelta(seconds=10), usegmt=True))
    assert wait is not None
    assert 8 < wait <= 10
