"""Cost truth: cached, written and reasoning tokens at their own prices, alike for streams, on each provider's wire."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from app.gateway.money import Price, Rates
from app.gateway.providers import PROVIDERS
from models.base import transaction
from support.callers import Client
from tests.gateway.conformance.capabilities import case
from tests.gateway.conformance.upstream import Upstream

# Nano-dollars for a token: each kind has its own price.
RATES = {"input": 1000, "output": 2000, "cache_read": 100, "cache_write": 1250, "cache_write_1h": 3000}
RATES["reasoning"] = 5000
ROWS = {
    "openai": ("cached_tokens", "cache_write", "reasoning"),
    "anthropic": ("cached_tokens", "cache_write", "reasoning"),
    "gemini": ("cached_tokens", "reasoning"),
}


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    """A provider that answers with fixtures, under the names of three with wires of their own."""
    with Upstream() as server:
        for name in ROWS:
            path = urlsplit(PROVIDERS[name].base_url).path
            monkeypatch.setenv(str(PROVIDERS[name].key_env), "test-key")
            monkeypatch.setenv(PROVIDERS[name].url_env or f"{name.upper()}_BASE_URL", server.url + path)
        yield server


def settled(client: Client, count: int) -> tuple[list[int], int]:
    """What each call cost, and what the counter says, once all are counted."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with transaction(client.application.runtime.engine, write=False) as opened:
            costs = list(opened.execute(text("SELECT cost_nano FROM traces ORDER BY seq")).scalars())
            [(spent, held)] = opened.execute(text("SELECT spent_nano, reserved_nano FROM spend_counters")).all()
        if len(costs) == count and not held:
            return costs, spent
        time.sleep(0.03)
    raise AssertionError((costs, spent, held))


@pytest.mark.parametrize("provider", ROWS)
def test_each_kind_of_token_is_charged_at_its_own_price(upstream: Upstream, client: Client, provider: str) -> None:
    """Streamed or whole, in the header, in the trace and in the counter of the budget."""
    gateway = client.application.runtime.gateway
    put = client.admin.put("/api/users/1/spend/cap", json={"monthly_cap": 100})
    assert put.status_code == 200
    expected = []
    for row in ROWS[provider]:
        one = case(provider, row)
        rates = Rates(**{name: nano * 1_000_000 for name, nano in RATES.items()})
        price = Price(provider, one.asked["model"], rates)
        gateway._book.table = gateway._book.table.with_overrides([price])
        usage: dict[str, int] = one.expected["usage"]
        nano = sum(tokens * RATES[kind] for kind, tokens in usage.items())
        for stream in (False, True):
            expected.append(nano)
            upstream.show(one)
            body: dict[str, Any] = one.asked | ({"stream": True} if stream else {})
            answer = client.user.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-stockyard-provider"] == provider
            if not stream:
                assert answer.headers["x-stockyard-cost"] == f"{nano / 1e9:.6f}"
    costs, spent = settled(client, len(expected))
    assert costs == expected
    assert len(set(expected)) == len(ROWS[provider]), "every row costs something else"
    assert spent == sum(expected)
