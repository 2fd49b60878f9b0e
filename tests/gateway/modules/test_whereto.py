"""Modules that decide where a call goes: to its caller's region, to a server next door, to a cheaper model."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from app.factory import Application
from gateway.lane.conftest import Ask, chat
from gateway.modules.conftest import MODEL, problem_of
from gateway.upstream import Upstream
from support.callers import Client
from support.envelopes import Refusals

# What they do does not depend on the database.
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]
Traces = Callable[..., list[dict[str, Any]]]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
ELSEWHERE, LOCAL = "llama-3.1-8b-instant", "llama3:8b"
EU, US = {"X-Region": "EU"}, {"X-Region": "us"}


def sites(upstream: Upstream) -> dict[str, Any]:
    """Two regions: in one OpenAI has an endpoint of its own, with groq beside it; in the other there is only groq."""
    regions = [
        {"region": "eu", "provider": "OpenAI", "base_url": upstream.url("openai-eu")},
        {"region": "eu", "provider": "groq"},
        {"region": "us", "provider": "groq"},
    ]
    return {"regions": regions}


def where(response: Any, upstream: Upstream, model: str = MODEL) -> str:
    """Which endpoint answered."""
    assert response.status_code == 200, response.text
    return str(upstream.seen(model)[-1]["provider"])


@BOTH
def test_a_call_goes_to_its_callers_region(ask: Ask, configure: Configure, upstream: Upstream, stream: bool) -> None:
    """By the header, the default, or the user, who then cannot choose another; with this server's own key."""
    configure("regionroute", **sites(upstream))
    assert where(ask(MODEL, stream=stream), upstream) == "openai"
    assert where(ask(MODEL, headers=EU, stream=stream), upstream) == "openai-eu"
    assert upstream.seen(MODEL)[-1]["headers"]["authorization"] == "Bearer sk-openai-canary"
    assert where(ask(MODEL, headers=US, stream=stream), upstream) == "groq"
    configure("regionroute", default_region="us", **sites(upstream))
    assert where(ask(MODEL, stream=stream), upstream) == "groq"
    configure("regionroute", users=[{"user": 1, "region": "eu"}], **sites(upstream))
    assert where(ask(MODEL, headers=US, stream=stream), upstream) == "openai-eu"


@pytest.mark.settings(outbound_allow="127.0.0.1")
def test_no_call_leaves_its_region(
    ask: Ask, configure: Configure, upstream: Upstream, client: Client, refused: Refusals
) -> None:
    """Neither when its provider fails, nor by a header, a key of one's own, or a region that does not exist."""
    names = {"groq": ELSEWHERE, "mistral": "mistral-small"}
    configure("failover", models={MODEL: names}, circuit_breaker={"failure_threshold": 100})
    configure("retrypilot", enabled=False)
    configure("regionroute", **sites(upstream))
    upstream.script(MODEL, {"status": 500})
    assert where(ask(MODEL, headers=EU), upstream, ELSEWHERE) == "groq"
    upstream.script(ELSEWHERE, {"status": 500})
    refused(ask(MODEL, headers=EU), 502)
    refused(ask(MODEL, headers=US), 502)
    assert upstream.seen("mistral-small") == []
    refused(ask(MODEL, headers=EU | {"X-Provider": "mistral"}), 403, "forbidden")
    refused(ask(MODEL, headers={"X-Region": "atlantis"}), 400, "bad_request")
    own = client.bearing("sk-raw-0123456789")
    refused(own.post("/v1/chat/completions", json=chat(MODEL), headers=US), 403, "forbidden")
    upstream.script(MODEL, {})
    assert own.post("/v1/chat/completions", json=chat(MODEL), headers=EU).status_code == 200
    assert upstream.seen(MODEL)[-1]["provider"] == "openai-eu"
    assert {seen["provider"] for seen in upstream.seen(MODEL)} == {"openai-eu"}
    brought = {"api_key": "sk-brought-0123456789", "base_url": upstream.url("mine")}
    assert client.user.put("/api/auth/me/providers/groq", json=brought).status_code == 200
    refused(ask(MODEL, headers=US), 503, "circuit_open")


def looked(client: Client, up: bool, within: float = 4.0) -> None:
    """Wait until this worker knows whether the local server is up."""
    deadline = time.monotonic() + within
    while client.admin.get("/api/proxy/modules/localsync").json()["stats"]["up"] is not up:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_server_next_door_is_asked_first(
    ask: Ask, configure: Configure, upstream: Upstream, client: Client, traces: Traces
) -> None:
    """For mapped models, while it is up, at no cost; whatever it cannot do, the cloud does at once."""
    local = upstream.url("next-door")
    configure("localsync", endpoint=local, models={MODEL: LOCAL, "unheard-of": LOCAL}, check_interval="1h")
    looked(client, up=True)
    near = ask(MODEL)
    assert (near.headers["x-stockyard-provider"], near.headers["x-stockyard-model"]) == ("ollama", LOCAL)
    assert (near.headers["x-stockyard-cost"], upstream.seen(LOCAL)[-1]["provider"]) == ("0.000000", "next-door")
    assert "authorization" not in upstream.seen(LOCAL)[-1]["headers"]
    assert ask(MODEL, stream=True).headers["x-stockyard-provider"] == "ollama"
    assert ask("gpt-4o").headers["x-stockyard-provider"] == "openai"
    assert ask(MODEL, headers={"X-Provider": "openai"}).headers["x-stockyard-provider"] == "openai"
    for refusal in (404, 400):  # it is up, but not for this
        upstream.script(LOCAL, {"status": refusal}, {})
        assert ask(MODEL).headers["x-stockyard-provider"] == "openai"
    upstream.script(LOCAL, {})
    assert ask(MODEL).headers["x-stockyard-provider"] == "ollama"
    upstream.script(LOCAL, {"status": 500})
    began = time.monotonic()
    answers = [ask(MODEL, stream=stream) for stream in (True, False, False)]
    assert time.monotonic() - began < 1.5
    assert [answer.headers["x-stockyard-provider"] for answer in answers] == ["openai"] * 3
    assert [answer.headers["x-stockyard-attempts"] for answer in answers] == ["2", "1", "1"]
    told = client.admin.get("/api/proxy/modules/localsync").json()["stats"]
    assert (told["up"], told["fell_through"]) == (False, 3)
    traces(10)


def test_a_server_next_door_that_is_down_costs_nobody_anything(
    ask: Ask, configure: Configure, upstream: Upstream, client: Client, application: Application
) -> None:
    """It is looked for beside the calls, and found again when it is back."""
    configure("localsync", endpoint="http://127.0.0.1:9/v1", models={MODEL: LOCAL}, check_interval="1h")
    module = application.runtime.gateway.modules._made["localsync"]
    deadline = time.monotonic() + 4
    while module._looking is None or not module._looking.done():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    answer = ask(MODEL)
    assert (answer.headers["x-stockyard-provider"], answer.headers["x-stockyard-attempts"]) == ("openai", "1")
    configure("localsync", endpoint=upstream.url("next-door"), models={MODEL: LOCAL})
    looked(client, up=True)
    assert ask(MODEL).headers["x-stockyard-provider"] == "ollama"
    configure("localsync", enabled=False)
    assert ask(MODEL).headers["x-stockyard-provider"] == "openai"


@pytest.fixture
def half_spent(ask: Ask, configure: Configure, upstream: Upstream, application: Application, traces: Traces) -> None:
    """A project that spent 0.5 of its 1.0 dollars, and a first step at a quarter."""
    configure("costcap", daily_limit_usd=1.0)
    configure("tierdrop", tiers=[{"at": 0.9, "model": "gpt-4.1-nano"}, {"at": 0.25, "model": MODEL}])
    usage = {"prompt_tokens": 200_000, "completion_tokens": 0, "total_tokens": 200_000}
    upstream.script("gpt-4o", {"usage": usage}, {})
    assert ask("gpt-4o", max_tokens=10).headers["x-stockyard-model"] == "gpt-4o"
    traces(1)
    shares = application.runtime.gateway.caps.shares
    later = shares.clock() + 5
    shares.clock = lambda: later


@pytest.mark.usefixtures("half_spent")
def test_calls_get_plainer_as_a_budget_runs_out(
    ask: Ask, upstream: Upstream, client: Client, traces: Traces, application: Application
) -> None:
    """By the step that was reached; nobody is moved to a dearer model, or to another provider than they chose."""
    dropped = ask("gpt-4o", max_tokens=10)
    assert dropped.headers["x-stockyard-model"] == MODEL
    assert ask("gpt-4.1-nano", max_tokens=10).headers["x-stockyard-model"] == "gpt-4.1-nano"
    groq = ask(upstream.script("openai/gpt-oss-120b", {}), max_tokens=10, headers={"X-Provider": "groq"})
    assert (groq.headers["x-stockyard-provider"], groq.headers["x-stockyard-model"]) == ("groq", "openai/gpt-oss-120b")
    own = client.bearing("sk-raw-0123456789").post("/v1/chat/completions", json=chat("gpt-4o", max_tokens=10))
    assert own.headers["x-stockyard-model"] == "gpt-4o"
    upstream.script(MODEL, {"usage": {"prompt_tokens": 3_000_000, "completion_tokens": 0, "total_tokens": 3_000_000}})
    ask("gpt-4o", max_tokens=10)
    traces(6)
    shares = application.runtime.gateway.caps.shares
    later = shares.clock() + 5
    shares.clock = lambda: later
    told = client.admin.get("/api/proxy/modules/tierdrop").json()["stats"]
    assert told == {"dropped": 2, "kept": 3}
    last = ask("gpt-4o", max_tokens=10)
    assert last.headers["x-stockyard-model"] == "gpt-4.1-nano", problem_of(last)


def test_without_a_budget_nothing_gets_plainer(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """A step at 0 is reached at once, and only where there is a budget to be spent."""
    tiers = [{"at": 0.001, "model": MODEL}]
    configure("tierdrop", tiers=tiers)
    assert ask("gpt-4o").headers["x-stockyard-model"] == "gpt-4o"
