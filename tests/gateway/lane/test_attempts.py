"""Retries, failover and circuits: tried again where that is safe and may help, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from app.factory import Application
from gateway.lane.conftest import Ask, chat, said
from gateway.upstream import Upstream
from support.callers import Client
from support.envelopes import Refusals

Traces = Callable[..., list[dict[str, Any]]]
Configure = Callable[..., None]
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
MODEL, ELSEWHERE = "gpt-4o-mini", "llama-3.1-8b-instant"


@pytest.fixture(autouse=True)
def quick(configure: Configure) -> None:
    """Retries without long waits, and groq ready to stand in."""
    configure("retrypilot", base_delay="1ms", max_delay="2s")
    configure("failover", models={MODEL: {"groq": ELSEWHERE}})


@STREAMED
@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_with_time_is_tried_again(
    ask: Ask, upstream: Upstream, traces: Traces, status: int, stream: bool
) -> None:
    """Two hiccups of a provider are no failure of the call."""
    upstream.script(MODEL, {"status": status}, {"status": status}, {})
    response = ask(MODEL, stream=stream)
    (trace,) = traces(1)
    assert (response.status_code, response.headers["x-stockyard-attempts"]) == (200, "3")
    assert (trace["status"], trace["attempts"], trace["provider"]) == ("ok", 3, "openai")
    assert len(upstream.seen(MODEL)) == 3


def test_a_wait_the_provider_asks_for_is_kept(ask: Ask, upstream: Upstream) -> None:
    """Coming back too early is what gets a key banned."""
    upstream.script(MODEL, {"status": 429, "headers": {"retry-after": "1"}}, {})
    assert ask(MODEL).status_code == 200
    ((first, second),) = pairwise(seen["at"] for seen in upstream.seen(MODEL))
    assert 1.0 <= second - first < 1.6


def test_a_wait_longer_than_ours_is_handed_to_the_caller(
    ask: Ask, upstream: Upstream, refused: Refusals, configure: Configure
) -> None:
    """Neither held open for minutes nor repeated too early."""
    configure("failover", enabled=False)
    upstream.script(MODEL, {"status": 429, "headers": {"retry-after": "45"}}, {})
    response = ask(MODEL)
    refused(response, 429, "rate_limited")
    assert response.headers["retry-after"] == "45"
    assert len(upstream.seen(MODEL)) == 1


@STREAMED
@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_the_callers_mistake_goes_back_at_once(
    ask: Ask, upstream: Upstream, traces: Traces, refused: Refusals, status: int, stream: bool
) -> None:
    """Neither repeated nor sent elsewhere, with the provider's own code and parameter."""
    error = {
        "message": "too long",
        "code": "context_length_exceeded",
        "param": "messages",
        "type": "invalid_request_error",
    }
    upstream.script(MODEL, {"status": status, "error": error})
    told = refused(ask(MODEL, stream=stream), status, "context_length_exceeded")["error"]
    assert (told["param"], told["type"], told["message"]) == ("messages", "invalid_request_error", "openai: too long")
    assert (len(upstream.seen(MODEL)), upstream.seen(ELSEWHERE)) == (1, [])
    assert traces(1)[0]["http_status"] == status


@STREAMED
@pytest.mark.parametrize("does", [{"status": 500}, {"status": 401}, {"hang": True}, {"raw": "<html>"}, {"close": True}])
def test_another_provider_stands_in_under_its_own_model_name(
    ask: Ask, upstream: Upstream, traces: Traces, does: Any, stream: bool
) -> None:
    """The caller notices nothing but the headers."""
    upstream.script(MODEL, does)
    response = ask(MODEL, stream=stream)
    (trace,) = traces(1)
    assert response.status_code == 200
    assert (trace["status"], trace["provider"], trace["model"]) == ("ok", "groq", ELSEWHERE)
    assert response.headers["x-stockyard-provider"] == "groq"
    assert [seen["provider"] for seen in upstream.seen(ELSEWHERE)] == ["groq"]
    assert upstream.seen(ELSEWHERE)[0]["headers"]["authorization"] == "Bearer sk-groq-canary"


def test_nothing_is_repeated_after_the_first_chunk(ask: Ask, upstream: Upstream, traces: Traces) -> None:
    """A client that has half an answer must not get another one appended."""
    upstream.script(MODEL, {"frames": 3, "then": "reset"})
    assert said(ask(MODEL, stream=True)) == "The train"
    assert (len(upstream.seen(MODEL)), upstream.seen(ELSEWHERE)) == (1, [])
    assert traces(1)[0]["attempts"] == 1


def test_a_pinned_provider_is_the_only_one(ask: Ask, upstream: Upstream, refused: Refusals) -> None:
    """X-Provider means that one, even when it fails."""
    upstream.script(MODEL, {"status": 500})
    refused(ask(MODEL, headers={"X-Provider": "openai"}), 502, "provider_error")
    assert upstream.seen(ELSEWHERE) == []
    assert ask(ELSEWHERE, headers={"X-Provider": "Mistral"}).headers["x-stockyard-provider"] == "mistral"


@STREAMED
def test_a_stand_in_that_cannot_do_it_does_not_blame_the_caller(
    ask: Ask, upstream: Upstream, traces: Traces, refused: Refusals, configure: Configure, stream: bool
) -> None:
    """Anthropic answers with one choice only: the caller learns that OpenAI failed, or gets the next one's answer."""
    names = {"anthropic": "claude-sonnet-4-5", "groq": ELSEWHERE}
    patient = {"failure_threshold": 50}
    configure("failover", models={MODEL: names}, providers=["anthropic"], circuit_breaker=patient)
    upstream.script(MODEL, {"status": 500})
    refused(ask(MODEL, n=2, stream=stream), 502, "provider_error")
    configure("failover", models={MODEL: names}, providers=["anthropic", "groq"], circuit_breaker=patient)
    assert ask(MODEL, n=2, stream=stream).headers["x-stockyard-provider"] == "groq"
    assert [(t["provider"], t["attempts"]) for t in traces(2)] == [("openai", 3), ("groq", 4)]
    assert upstream.seen("claude-sonnet-4-5") == []


@STREAMED
def test_what_the_callers_own_provider_cannot_do_is_a_400(
    client: Client, upstream: Upstream, traces: Traces, refused: Refusals, stream: bool
) -> None:
    """Known before anything is sent; it is not the server that failed."""
    response = client.bearing("sk-ant-mine012345").post("/v1/chat/completions", json=chat(MODEL, n=2, stream=stream))
    assert "n must be 1" in refused(response, 400)["error"]["message"]
    (trace,) = traces(1)
    assert (trace["attempts"], trace["cost_nano"], trace["http_status"]) == (0, 0, 400)
    assert upstream.seen(MODEL) == []


def test_a_circuit_opens_is_probed_once_and_closes(
    ask: Ask, upstream: Upstream, traces: Traces, refused: Refusals, configure: Configure, application: Application
) -> None:
    """A provider that is down is left alone, told so quickly, and found again by itself."""
    configure("failover", circuit_breaker={"failure_threshold": 2, "recovery_timeout": "60s"})
    configure("retrypilot", enabled=False)
    upstream.script(MODEL, {"status": 500}, {"status": 500}, {"status": 500}, {})
    breaker = application.runtime.gateway.attempts.breaker("openai")
    now = [1000.0]
    breaker.clock = lambda: now[0]
    for _ in range(2):
        refused(ask(MODEL), 502)
    waiting = ask(MODEL)
    assert refused(waiting, 503, "circuit_open")["error"]["details"] == {"provider": "openai"}
    assert (waiting.headers["retry-after"], len(upstream.seen(MODEL))) == ("60", 2)
    now[0] += 61
    refused(ask(MODEL), 502)  # the probe fails: open again
    refused(ask(MODEL), 503, "circuit_open")
    now[0] += 61
    assert [ask(MODEL).status_code for _ in range(2)] == [200, 200]
    assert len(upstream.seen(MODEL)) == 5
    assert [(t["http_status"], t["attempts"]) for t in traces(7)][2:5] == [(503, 0), (502, 1), (503, 0)]


@pytest.mark.parametrize("status", [400, 401, 403, 418])
def test_refusals_do_not_open_a_circuit(ask: Ask, upstream: Upstream, application: Application, status: int) -> None:
    """One caller's bad requests must not take a healthy provider from all others."""
    upstream.script(MODEL, {"status": status})
    for _ in range(7):
        ask(MODEL, headers={"X-Provider": "openai"})
    assert application.runtime.gateway.attempts.breaker("openai").state == "closed"
    assert len(upstream.seen(MODEL)) == 7
