"""Providers: which are set up, how they are, and that asking them never gives a key away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from app.gateway.providers import PROVIDERS
from app.services import probes
from support.callers import Client
from support.envelopes import Refusals
from support.people import Promised
from support.provider import Upstream, upstream
from support.servers import free_port

LIST = "/api/proxy/providers"
CHECK = "/api/proxy/providers/openai/check"
SECRET = "sk-canary-0123456789abcdef"
QUESTION = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def openai(monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    """OpenAI on the loopback, configured; ask for it before `client`."""
    with upstream() as told:
        monkeypatch.setenv("OPENAI_API_KEY", SECRET)
        monkeypatch.setenv("OPENAI_BASE_URL", f"{told.base_url}/v1")
        yield told


def seen(client: Client, name: str) -> dict[str, Any]:
    """One provider of the list."""
    listed = client.admin.get(LIST).json()["providers"]
    return next(provider for provider in listed if provider["name"] == name)


def test_every_provider_is_listed_configured_or_not(admin: Any, promised: Promised) -> None:
    """An operator looks here for what could be set up."""
    body = promised(admin.get(LIST))
    assert [provider["name"] for provider in body["providers"]] == sorted(PROVIDERS)
    assert {p["name"] for p in body["providers"] if p["configured"]} == {"sandbox"}
    only = promised(admin.get(LIST, params={"configured": "true"}))
    assert [p["name"] for p in only["providers"]] == ["sandbox"]
    assert promised(admin.get(LIST, params={"limit": 2}))["has_more"]


def test_a_configured_provider_shows_its_address_and_never_its_key(
    openai: Upstream, client: Client, promised: Promised
) -> None:
    """Whoever reads the page over an operator's shoulder must not walk off with the key."""
    response = client.admin.get(LIST)
    shown = next(p for p in promised(response)["providers"] if p["name"] == "openai")
    assert (shown["configured"], shown["key_set"], shown["base_url"]) == (True, True, f"{openai.base_url}/v1")
    assert (shown["status"], shown["request_count"]) == ("unknown", 0)
    assert SECRET not in response.text


def test_a_check_asks_with_the_servers_key_and_is_remembered(
    openai: Upstream, client: Client, promised: Promised
) -> None:
    """A check that left the key out would call a server with a wrong key healthy."""
    body = promised(client.admin.post(f"{LIST}/OpenAI/check"))
    assert (body["provider"], body["status"], "error" in body) == ("openai", "active", False)
    [(method, path, headers)] = openai.heard
    assert (method, path, headers["authorization"]) == ("GET", "/v1/models", f"Bearer {SECRET}")
    kept = seen(client, "openai")
    assert (kept["status"], kept["last_check"]) == ("active", body["checked_at"])


@pytest.mark.parametrize(
    ("status", "verdict", "said"),
    [
        (401, "degraded", "key not accepted (401)"),
        (403, "degraded", "key not accepted (403)"),
        (404, "active", "it has no list of models (404), so its key was not checked"),
        (429, "degraded", "it answered 429"),
        (503, "degraded", "it answered 503"),
        (302, "degraded", "it answered 302"),
    ],
)
def test_what_a_provider_answers_is_judged(
    openai: Upstream, client: Client, status: int, verdict: str, said: str
) -> None:
    """The person on call acts on these words."""
    openai.status, openai.headers = status, {"location": f"{openai.base_url}/elsewhere"}
    body = client.admin.post(CHECK).json()
    assert (body["status"], body["error"]) == (verdict, said)
    assert len(openai.heard) == 1, "a redirect would carry the key to another host"
    assert seen(client, "openai")["error"] == said


def test_a_provider_that_is_not_there_is_unreachable(
    monkeypatch: pytest.MonkeyPatch, client: Client, promised: Promised
) -> None:
    """Neither the address nor the key is in the reason."""
    account = client.application.runtime.gateway.config.accounts["sandbox"]
    gone = type(account)(PROVIDERS["openai"], f"http://127.0.0.1:{free_port()}/v1", SECRET)
    monkeypatch.setitem(client.application.runtime.gateway.config.accounts, "openai", gone)
    response = client.admin.post(CHECK)
    body = promised(response)
    assert (body["status"], body["error"]) == ("unreachable", "cannot connect")
    assert SECRET not in response.text


def test_a_silent_provider_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, openai: Upstream, client: Client) -> None:
    """One that never answers must not hold the page."""
    monkeypatch.setattr(probes, "TIMEOUT_S", 0.2)
    openai.delay = 1.0
    body = client.admin.post(CHECK).json()
    assert (body["status"], body["error"]) == ("unreachable", "no answer within 0.2 s")
    assert body["latency_ms"] < 1000


def test_the_sandbox_is_really_asked(admin: Any, promised: Promised) -> None:
    """It is a provider like any other, only nearer."""
    assert promised(admin.post(f"{LIST}/sandbox/check"))["status"] == "active"


def test_a_check_of_what_is_not_there_is_refused(client: Client, refused: Refusals) -> None:
    """404 for a name nobody has, 409 with the missing setting for one that waits to be set up."""
    refused(client.admin.post(f"{LIST}/nonsense/check"), 404, "not_found")
    body = refused(client.admin.post(CHECK), 409, "conflict")
    assert "OPENAI_API_KEY" in body["error"]["message"]
    refused(client.user.post(f"{LIST}/sandbox/check"), 403, "forbidden")


def test_an_open_circuit_shows_everywhere(openai: Upstream, client: Client) -> None:
    """The list, the module and the status must not tell three stories."""
    client.admin.post(CHECK)
    client.admin.put("/api/proxy/modules/retrypilot", json={"enabled": False})
    client.admin.put("/api/proxy/modules/failover", json={"circuit_breaker": {"failure_threshold": 1}})
    openai.status = 500
    assert client.user.post("/v1/chat/completions", json=QUESTION).status_code == 502
    shown = seen(client, "openai")
    assert (shown["status"], shown["circuit"]["state"]) == ("degraded", "open")
    assert shown["circuit"]["retry_after"] > 0
    counted = client.admin.get("/api/proxy/modules/failover").json()["stats"]
    assert (counted["open"], counted["circuits"]["openai"]["failures"]) == (1, 1)
    report = client.admin.get("/api/status").json()
    assert (report["status"], report["components"]["providers"]["detail"]) == ("degraded", "circuit open: openai")
