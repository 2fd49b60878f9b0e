"""What is read of providers' quotas, in each form they are told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import time

import pytest

from app.gateway.modules.quotas import Quota, read, seconds

OPENAI = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "30",
    "x-ratelimit-reset-requests": "30s",
    "x-ratelimit-limit-tokens": "150000",
    "x-ratelimit-remaining-tokens": "149984",
    "x-ratelimit-reset-tokens": "6m0s",
}


def told(headers: dict[str, str]) -> list[tuple[str, float, float]]:
    """What is counted, the size, and what is left."""
    return [(quota.what, quota.limit, quota.remaining) for quota in read(headers, 0.0)]


def test_quotas_are_read_in_the_forms_of_providers() -> None:
    """OpenAI's, Anthropic's, and the draft of the standard."""
    assert told(OPENAI) == [("requests", 60, 30), ("tokens", 150_000, 149_984)]
    reset = (datetime.now(UTC) + timedelta(seconds=20)).isoformat().replace("+00:00", "Z")
    names = {"limit": "4000", "remaining": "10", "reset": reset}
    assert told({f"anthropic-ratelimit-input-tokens-{name}": value for name, value in names.items()}) == [
        ("tokens", 4000, 10)
    ]
    standard = {"ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "7", "ratelimit-reset": "12"}
    assert told(standard) == [("requests", 100, 7)]


@pytest.mark.parametrize(
    "broken",
    [
        {"limit": "0"},
        {"limit": "many"},
        {"remaining": "-1"},
        {"remaining": "nan"},
        {"reset": ""},
        {"reset": "1s later"},
    ],
)
def test_what_cannot_be_read_is_no_quota(broken: dict[str, str]) -> None:
    """A call is never held back by a guess."""
    assert told({f"x-ratelimit-{name}-tokens": value for name, value in broken.items()}) == []
    whole = {name: OPENAI[f"x-ratelimit-{name}-requests"] for name in ("limit", "remaining", "reset")} | broken
    assert told({f"x-ratelimit-{name}-requests": value for name, value in whole.items()}) == []


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("6m0s", 360),
        ("120ms", 0.12),
        ("1.5s", 1.5),
        ("1d", 86_400),
        ("30", 30),
        ("9999999h", 86_400),
        ("2001-01-01T00:00:00Z", 0),
    ],
)
def test_a_reset_is_read_in_every_form(text: str, wait: float) -> None:
    """A day at most."""
    assert seconds(text) == pytest.approx(wait)


def test_a_reset_may_be_a_moment() -> None:
    """In seconds or milliseconds since 1970, or as a date."""
    date = (datetime.now(UTC) + timedelta(seconds=600)).isoformat()
    for text in (str(time() + 600), str(time() * 1000 + 600_000), date):
        assert seconds(text) == pytest.approx(600, abs=5)


def test_a_quota_that_fills_up_by_and_by_gives_back_in_step() -> None:
    """Half of sixty calls come back in thirty seconds: one a second, and never more than all."""
    quota = next(read(OPENAI, 100.0))
    assert [quota.left(moment) for moment in (100, 110, 130, 999)] == [30, 40, 60, 60]
    assert quota.wait(1, 0.5, 100) == 1.0
    assert quota.wait(1, 0.4, 100) == 0.0
    quota.take(31, 100)
    assert quota.wait(1, 0.0, 100) == 2.0
    assert quota.wait(1_000_000, 0.0, 100) == 61.0


def test_a_quota_of_windows_begins_anew() -> None:
    """Nothing comes back before its end, and all of it then."""
    quota = Quota("requests", limit=10, remaining=1, at=0.0, rate=0.0, ends=30.0)
    assert [quota.left(moment) for moment in (0, 29, 30)] == [1, 1, 10]
    assert (quota.wait(1, 0.0, 5), quota.wait(2, 0.0, 5)) == (0.0, 25.0)
    quota.take(2, 5)
    assert quota.left(6) == -1
