"""Providers' quotas, minded before they are used up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.lane.conftest import Ask, chat
from gateway.modules.conftest import MODEL
from gateway.upstream import Upstream
from support.callers import Client
from support.envelopes import Refusals

# What it does does not depend on the database.
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
ELSEWHERE = "llama-3.1-8b-instant"


def left(count: int, reset: str, what: str = "requests", limit: int = 100) -> dict[str, Any]:
    """A step of the provider's script that tells of what is left."""
    told = {"limit": limit, "remaining": count, "reset": reset}
    return {"headers": {f"X-RateLimit-{name.title()}-{what.title()}": str(value) for name, value in told.items()}}


@pytest.fixture
def standin(configure: Configure) -> None:
    """Groq serves the model under another name."""
    configure("failover", models={MODEL: {"groq": ELSEWHERE}})


def stats(client: Client) -> dict[str, int]:
    """What the module counted."""
    return dict(client.admin.get("/api/proxy/modules/quotasync").json()["stats"])


@BOTH
@pytest.mark.usefixtures("standin")
def test_a_call_goes_elsewhere_before_it_would_be_refused(
    ask: Ask, configure: Configure, upstream: Upstream, client: Client, stream: bool
) -> None:
    """As soon as a provider's answer says that little is left; without the module it is asked until it refuses."""
    upstream.script(MODEL, left(5, "60s"))
    ask(MODEL, stream=stream)
    assert ask(MODEL, stream=stream).headers["x-stockyard-provider"] == "openai"
    configure("quotasync")
    assert ask(MODEL, stream=stream).headers["x-stockyard-provider"] == "openai"
    assert ask(MODEL, stream=stream).headers["x-stockyard-provider"] == "groq"
    assert (len(upstream.seen(MODEL)), len(upstream.seen(ELSEWHERE))) == (3, 1)
    assert stats(client) == {"read": 1, "held_back": 0, "moved_on": 1, "refused": 0, "known": 1}


@BOTH
def test_a_call_waits_for_its_turn_or_is_refused_at_once(
    ask: Ask, configure: Configure, upstream: Upstream, client: Client, refused: Refusals, stream: bool
) -> None:
    """Where there is nowhere else to go: as long as it must, if that is not too long, and then it is asked."""
    upstream.script(MODEL, left(10, "45s"))  # two come back in a second; the eleventh is the first that is not margin
    configure("quotasync")
    ask(MODEL)
    began = time.monotonic()
    assert ask(MODEL, stream=stream).status_code == 200
    assert 0.3 <= time.monotonic() - began < 3
    configure("quotasync", max_wait="100ms")
    answer = ask(MODEL, stream=stream)
    told = refused(answer, 429, "rate_limited")["error"]["details"]
    assert (told["reason"], told["provider"]) == ("quotasync", "openai")
    assert answer.headers["retry-after"] == "1"
    assert len(upstream.seen(MODEL)) == 2
    counted = stats(client)
    assert (counted["held_back"], counted["refused"]) == (1, 1)


@pytest.mark.usefixtures("standin")
def test_tokens_are_counted_by_what_the_call_asks_for(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """A small call still fits where a large one does not; each counts until the provider tells of it."""
    upstream.script(MODEL, left(2_000, "600s", "tokens", 10_000), {})
    configure("quotasync")
    ask(MODEL)
    assert ask(MODEL, max_tokens=5_000).headers["x-stockyard-provider"] == "groq"
    assert [ask(MODEL, max_tokens=600).headers["x-stockyard-provider"] for _ in range(2)] == ["openai", "groq"]


@pytest.mark.usefixtures("standin")
def test_quotas_are_kept_apart(ask: Ask, configure: Configure, upstream: Upstream, client: Client) -> None:
    """By model; a caller's own key is the caller's affair; a call for one provider stays with it."""
    upstream.script(MODEL, left(0, "1s"))
    configure("quotasync", max_wait="2s", margin=0)
    own = client.bearing("sk-raw-0123456789")
    for _ in range(2):
        assert own.post("/v1/chat/completions", json=chat(MODEL)).headers["x-stockyard-provider"] == "openai"
    assert stats(client)["read"] == 0
    ask(MODEL)
    assert ask("gpt-4o").headers["x-stockyard-provider"] == "openai"
    assert ask(MODEL, headers={"X-Provider": "openai"}).headers["x-stockyard-provider"] == "openai"
    assert stats(client)["moved_on"] == 0
