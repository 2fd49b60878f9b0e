"""StackFlow's health check, at both of its addresses."""

from __future__ import annotations

import pytest

from support.callers import Client
from support.databases import lose

ADDRESSES = ("/prod/api/v1/health", "/prod/api/health")


@pytest.mark.parametrize("path", ADDRESSES)
def test_the_desk_is_well_while_its_database_answers(client: Client, path: str) -> None:
    """The unversioned address is the same operation, no redirect."""
    answer = client.anonymous.get(path)
    assert answer.status_code == 200
    assert answer.json()["status"] == "healthy"
    assert set(answer.json()) == {"status", "version", "region"}


@pytest.mark.parametrize("path", ADDRESSES)
def test_a_lost_database_makes_the_desk_degraded(client: Client, path: str) -> None:
    """Monitors read the status from the body of the 503."""
    lose(client.application.runtime.engine)
    answer = client.anonymous.get(path)
    assert answer.status_code == 503
    assert answer.json()["status"] == "degraded"


@pytest.mark.settings(rate_limits="on")
def test_health_tells_of_the_limit(client: Client) -> None:
    """Rate-limit headers are on every response of this dialect, health included."""
    first, second = (client.anonymous.get(path) for path in ADDRESSES)
    assert first.headers["x-ratelimit-limit"] == "100"
    assert int(second.headers["x-ratelimit-remaining"]) == int(first.headers["x-ratelimit-remaining"]) - 1
    assert int(second.headers["x-ratelimit-reset"]) > 1_700_000_000
