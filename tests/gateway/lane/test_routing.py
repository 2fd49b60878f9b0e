"""Where a call goes and with whose key: decided by the operator and the credential, never by the body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.factory import Application
from app.services.provider_keys import Brought, save
from gateway.lane.conftest import Ask, chat
from gateway.upstream import Upstream
from models.base import transaction
from support.callers import Client
from support.envelopes import Refusals

Traces = Callable[..., list[dict[str, Any]]]
MODEL = "gpt-4o-mini"
RAW = "sk-proj-callersown0123456789"


@pytest.fixture
def brought(application: Application, upstream: Upstream) -> Callable[[str, str], None]:
    """Stores a provider key of the first user."""

    def store(provider: str, key: str, base_url: str | None = None) -> None:
        runtime = application.runtime
        with transaction(runtime.engine):
            save(1, provider, Brought(key, base_url), runtime.secrets)
        runtime.changed()

    return store


def test_a_users_stored_key_is_preferred(ask: Ask, upstream: Upstream, brought: Callable[..., None]) -> None:
    """Who brings a key pays with it; others still use the server's."""
    brought("openai", "sk-users-canary")
    assert ask(MODEL).status_code == 200
    assert upstream.seen(MODEL)[0]["headers"]["authorization"] == "Bearer sk-users-canary"


def test_a_users_broken_key_does_not_open_the_circuit_for_others(
    ask: Ask, client: Client, upstream: Upstream, brought: Callable[..., None], configure: Callable[..., None]
) -> None:
    """One tenant must not be able to take a provider from the rest."""
    configure("retrypilot", enabled=False)
    brought("openai", "sk-users-canary")
    upstream.script(MODEL, {"status": 500})
    for _ in range(8):
        assert ask(MODEL).status_code == 502
    upstream.script(MODEL, {})
    assert client.admin.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200


def test_a_key_the_provider_quotes_is_not_shown(ask: Ask, upstream: Upstream, brought: Callable[..., None]) -> None:
    """Some providers repeat the key they refuse, and not every key can be told by its looks."""
    brought("openai", "0123456789plainlookingkey")
    upstream.script(MODEL, {"status": 400, "error": {"message": "bad key 0123456789plainlookingkey, sorry"}})
    response = ask(MODEL)
    assert response.status_code == 400
    assert "plainlookingkey" not in response.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_raw_provider_key_is_passed_through_and_nothing_more(
    client: Client, upstream: Upstream, traces: Traces, configure: Callable[..., None], stream: bool
) -> None:
    """No retry, no failover, the provider's own refusal: it is the caller's account, not ours."""
    configure("failover", models={MODEL: {"groq": "llama-3.1-8b-instant"}})
    caller = client.bearing(RAW)
    for status, told in ((500, 502), (401, 401), (403, 403), (429, 429)):
        upstream.script(MODEL, {"status": status})
        assert caller.post("/v1/chat/completions", json=chat(MODEL, stream=stream)).status_code == told
    upstream.script(MODEL, {})
    assert caller.post("/v1/chat/completions", json=chat(MODEL, stream=stream)).status_code == 200
    assert [seen["headers"]["authorization"] for seen in upstream.seen(MODEL)] == [f"Bearer {RAW}"] * 5
    assert upstream.seen("llama-3.1-8b-instant") == []
    assert [trace["attempts"] for trace in traces(5)] == [1] * 5


def test_a_raw_key_leaves_no_copy(client: Client, application: Application, upstream: Upstream, traces: Traces) -> None:
    """Not in a trace, not in the spool, not in any file of the data directory."""
    upstream.script(MODEL, {"status": 401, "error": {"message": f"Incorrect API key provided: {RAW}"}})
    response = client.bearing(RAW).post("/v1/chat/completions", json=chat(MODEL))
    assert (response.status_code, RAW in response.text) == (401, False)
    assert RAW not in str(traces(1))
    files = [file for file in application.runtime.settings.data.rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if RAW.encode() in file.read_bytes()]


FORBIDDEN = {
    "api_base": "http://127.0.0.1:9",
    "base_url": "http://x",
    "api_key": "sk-evil-canary99",
    "extra_headers": {"a": "b"},
}


def test_a_caller_chooses_neither_host_nor_key(ask: Ask, upstream: Upstream, traces: Traces) -> None:
    """CVE-2024-6587: such fields are neither obeyed, nor forwarded, nor kept; unknown ones are forwarded."""
    response = ask(MODEL, reasoning_effort="low", thing_of_tomorrow={"deep": [1]}, **FORBIDDEN)
    assert response.status_code == 200
    body = upstream.seen(MODEL)[0]["body"]
    assert not FORBIDDEN.keys() & body.keys()
    assert (body["reasoning_effort"], body["thing_of_tomorrow"]) == ("low", {"deep": [1]})
    kept = bytes(traces(1)[0]["request"])
    assert b"evil" not in kept
    assert b"thing_of_tomorrow" in kept


def test_only_what_a_provider_needs_is_sent_to_it(ask: Ask, upstream: Upstream) -> None:
    """Cookies, addresses and our own headers are nobody else's affair."""
    ask(MODEL, headers={"Cookie": "a=b", "X-Forwarded-For": "10.0.0.1", "X-Project": "p", "X-Custom": "c"})
    sent = upstream.seen(MODEL)[0]["headers"].keys()
    assert sent <= {
        "host",
        "authorization",
        "content-type",
        "content-length",
        "accept",
        "connection",
        "transfer-encoding",
    }


def test_an_alias_stands_for_a_model_and_maybe_a_provider(
    ask: Ask, upstream: Upstream, traces: Traces, configure: Callable[..., None]
) -> None:
    """Applications name a purpose, the operator names the model."""
    aliases = [{"alias": "smart", "model": MODEL}, {"alias": "fast", "model": "tiny", "provider": "mistral"}]
    configure("modelalias", aliases=aliases)
    assert [ask(name).headers["x-stockyard-provider"] for name in ("smart", "fast")] == ["openai", "mistral"]
    assert [trace["model"] for trace in traces(2)] == [MODEL, "tiny"]
    assert upstream.seen("tiny")[0]["body"]["model"] == "tiny"


def test_a_stored_route_wins_over_the_models_name(ask: Ask, upstream: Upstream, route: Callable[..., None]) -> None:
    """Globs in the operator's order; a route may rename the model."""
    route("gpt-4o-*", "groq", "llama-x")
    route("house/*", "mistral")
    assert ask(MODEL).headers["x-stockyard-model"] == "llama-x"
    assert upstream.seen("llama-x")[0]["provider"] == "groq"
    assert ask("house/model").headers["x-stockyard-provider"] == "mistral"


def test_an_unconfigured_provider_is_named_with_its_remedy(ask: Ask, refused: Refusals, traces: Traces) -> None:
    """With real providers configured the sandbox must not answer in another's name."""
    told = refused(ask("gemini-2.5-pro"), 503)
    assert "GEMINI_API_KEY" in told["error"]["message"]
    assert traces(1)[0]["http_status"] == 503


def test_an_unknown_provider_is_a_400(ask: Ask, refused: Refusals) -> None:
    """A typing error in X-Provider must not go to another provider."""
    refused(ask(MODEL, headers={"X-Provider": "opnai"}), 404)
