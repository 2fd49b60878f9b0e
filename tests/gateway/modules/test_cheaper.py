"""Modules that look for the cheaper way: the same model elsewhere, a smaller model for easy vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.lane.conftest import Ask, chat
from gateway.upstream import Upstream
from support.callers import Client

# What they do does not depend on the database.
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
DEAR, CHEAP = "gpt-4o", "llama-3.1-8b-instant"


def provider(response: Any) -> str:
    """Who answered."""
    assert response.status_code == 200, response.text
    return str(response.headers["x-stockyard-provider"])


@BOTH
def test_a_model_is_asked_for_where_it_costs_least(
    ask: Ask, configure: Configure, upstream: Upstream, client: Client, stream: bool
) -> None:
    """Where the operator says that others serve it; the usual provider still stands in."""
    configure("failover", models={DEAR: {"groq": CHEAP, "mistral": "mistral-small"}})
    assert provider(ask(DEAR, stream=stream)) == "openai"
    configure("spotprice")
    assert provider(ask(DEAR, stream=stream)) == "groq"
    upstream.script(CHEAP, {"status": 400, "error": {"message": "no"}}, {"status": 401})
    ask(DEAR, stream=stream)
    assert provider(ask(DEAR, stream=stream)) == "openai"
    told = client.admin.get("/api/proxy/modules/spotprice").json()["stats"]
    assert told == {"moved": 3, "kept": 0}


def test_a_provider_is_kept_where_little_is_saved_or_nothing_known(
    ask: Ask, configure: Configure, client: Client
) -> None:
    """Nor is anybody moved who chose the provider, or pays for it."""
    configure("failover", models={DEAR: {"groq": CHEAP}, "gpt-4o-mini": {"groq": "unheard-of"}})
    configure("spotprice", min_saving=0.999)
    assert provider(ask(DEAR)) == "openai"
    configure("spotprice")
    assert provider(ask("gpt-4o-mini")) == "openai"
    assert provider(ask(DEAR, headers={"X-Provider": "openai"})) == "openai"
    own = client.bearing("sk-raw-0123456789")
    assert provider(own.post("/v1/chat/completions", json=chat(DEAR))) == "openai"
    brought = {"api_key": "sk-brought-0123456789"}
    assert client.user.put("/api/auth/me/providers/openai", json=brought).status_code == 200
    assert provider(ask(DEAR)) == "openai"
    told = client.admin.get("/api/proxy/modules/spotprice").json()["stats"]
    assert told == {"moved": 0, "kept": 5}


@pytest.fixture
def embed(client: Client) -> Callable[..., str]:
    """Which model embeds these texts."""

    def asked(given: Any, model: str = "auto") -> str:
        response = client.user.post("/v1/embeddings", json={"model": model, "input": given})
        assert response.status_code == 200, response.text
        return str(response.headers["x-stockyard-model"])

    return asked


GERMAN = "Der Zug ist spät, und das ist nicht gut."
RULES = [
    {"max_chars": 100, "language": "de", "model": "mistral-embed"},
    {"max_chars": 20, "model": "text-embedding-ada-002"},
    {"max_chars": 200, "model": "text-embedding-3-large"},
]


def test_vectors_are_made_by_the_model_that_suffices(
    configure: Configure, client: Client, embed: Callable[..., str]
) -> None:
    """By the longest text of a list, and a language that all are in; a model asked for by name is left alone."""
    configure("embedrouter", rules=RULES)
    assert embed(GERMAN) == "mistral-embed"
    assert embed([GERMAN, GERMAN]) == "mistral-embed"
    assert embed([GERMAN, "The train is late, and that is not good."]) == "text-embedding-3-large"
    assert embed("Bern") == "text-embedding-ada-002"
    assert embed(["Bern", "x" * 200]) == "text-embedding-3-large"
    assert embed("x" * 201) == "text-embedding-3-small"
    assert embed([1, 2, 3]) == "text-embedding-3-small"
    assert embed("Bern", "text-embedding-3-large") == "text-embedding-3-large"
    told = client.admin.get("/api/proxy/modules/embedrouter").json()["stats"]
    assert told == {"routed": 5, "default": 2, "left": 0}


def test_names_left_to_the_router_are_the_operators(
    ask: Ask, configure: Configure, upstream: Upstream, embed: Callable[..., str]
) -> None:
    """Globs of them; a chat of that name is none of its business."""
    configure("embedrouter", models=["house-*"], rules=[{"model": "text-embedding-3-large"}])
    assert embed("Bern", "house-vectors") == "text-embedding-3-large"
    assert ask("house-vectors").headers["x-stockyard-model"] == "house-vectors"
