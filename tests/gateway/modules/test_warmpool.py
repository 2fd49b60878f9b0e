"""Connections to providers that are open before a call needs them."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from app.factory import Application
from gateway.lane.conftest import Ask
from gateway.modules.conftest import MODEL
from gateway.upstream import Upstream
from support.callers import Client

# What it does does not depend on the database.
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]


def becomes(upstream: Upstream, count: int, within: float = 5.0) -> None:
    """Wait until the provider has so many connections."""
    deadline = time.monotonic() + within
    while upstream.open() != count:
        assert time.monotonic() < deadline, upstream.open()
        time.sleep(0.05)


def stats(client: Client) -> dict[str, int]:
    """What the module counted."""
    return dict(client.admin.get("/api/proxy/modules/warmpool").json()["stats"])


def test_connections_wait_for_calls(
    ask: Ask, configure: Configure, upstream: Upstream, client: Client, application: Application
) -> None:
    """Four providers of one address share them; calls use them; those that were closed are opened again."""
    assert upstream.open() == 0
    configure("warmpool", connections=3, interval="100ms")
    becomes(upstream, 3)
    assert [ask(MODEL, stream=stream).status_code for stream in (True, False)] == [200, 200]
    assert upstream.open() == 3
    assert stats(client) == {"opened": 3, "failed": 0, "ready": 1}
    pool = application.runtime.gateway.transport._pool
    assert pool is not None
    application.runtime.gateway.loop.call_soon_threadsafe(lambda: [held.abort() for held in list(pool._open)[:2]])
    deadline = time.monotonic() + 5
    while stats(client)["opened"] < 5:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    becomes(upstream, 3)


@pytest.mark.usefixtures("unreachable")
def test_a_provider_that_is_away_stops_nothing(ask: Ask, configure: Configure, client: Client) -> None:
    """Others are kept ready all the same."""
    configure("warmpool", interval="100ms")
    deadline = time.monotonic() + 5
    while stats(client)["failed"] < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert stats(client)["ready"] == 1
    assert ask(MODEL).status_code == 200


@pytest.fixture
def unreachable(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """One provider that nobody answers for."""
    monkeypatch.setenv("MISTRAL_BASE_URL", "http://127.0.0.1:9/v1")
