"""Idle kill: no call runs for ever, grows without end or goes round in circles, whichever way it is answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from app.factory import Application
from gateway.lane.conftest import Ask, chat, said
from gateway.modules.conftest import MODEL, problem_of
from gateway.upstream import Upstream
from support.callers import Caller
from support.envelopes import Refusals

# What it does does not depend on the database.
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]
Traces = Callable[..., list[dict[str, Any]]]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
WORDS = {"text": "word " * 400}


def stats(admin: Caller) -> dict[str, int]:
    """What the module counted."""
    told: dict[str, int] = admin.get("/api/proxy/modules/idlekill").json()["stats"]
    return told


@BOTH
def test_a_call_that_does_not_begin_in_time_is_stopped(
    ask: Ask, configure: Configure, upstream: Upstream, refused: Refusals, traces: Traces, stream: bool
) -> None:
    """Repetitions and stand-ins included; the provider is told, and what it may have done is paid."""
    configure("retrypilot", base_delay="1ms", max_retries=10)
    configure("failover", models={MODEL: {"groq": "llama-3.1-8b-instant"}})
    configure("idlekill", max_duration="300ms")
    upstream.script(MODEL, {"status": 500}, {"status": 500}, {"delay": 5})
    began = time.monotonic()
    told = refused(ask(MODEL, stream=stream), 504, "provider_timeout")["error"]
    assert 0.29 < time.monotonic() - began < 2
    assert told["details"] == {"reason": "idlekill", "limit": "duration"}
    assert upstream.ended(MODEL)["end"] == "cut"
    (trace,) = traces(1)
    assert (trace["status"], trace["http_status"], trace["attempts"]) == ("error", 504, 3)
    assert trace["cost_nano"] > 0


@pytest.mark.parametrize("does", [{"pause": 0.03, **WORDS}, {"frames": 3, "then": "hang"}], ids=["talks", "hangs"])
def test_a_stream_that_does_not_end_in_time_is_stopped(
    ask: Ask, configure: Configure, upstream: Upstream, traces: Traces, admin: Caller, does: Any
) -> None:
    """Whether it talks on or says nothing more; what came is the caller's, and paid."""
    configure("idlekill", max_duration="300ms")
    upstream.script(MODEL, does)
    began = time.monotonic()
    response = ask(MODEL, stream=True)
    assert 0.29 < time.monotonic() - began < 0.8
    problem = problem_of(response)
    assert (problem["code"], "stopped after 0.3 s" in problem["message"]) == ("provider_timeout", True)
    assert said(response)
    assert upstream.ended(MODEL)["end"] == "cut"
    (trace,) = traces(1)
    assert (trace["status"], trace["http_status"]) == ("error", 504)
    assert trace["tokens_out"] > 0
    assert stats(admin) == {"stopped": 1, "loops": 0}


@pytest.mark.parametrize(
    ("model", "limits", "limit"),
    [(MODEL, {"max_tokens_per_request": 60}, "tokens"), ("gpt-4o", {"max_cost_per_request": 0.0006}, "USD")],
)
def test_a_stream_that_grows_too_large_is_stopped(  # noqa: PLR0913, PLR0917 (what it is proven with)
    ask: Ask, configure: Configure, upstream: Upstream, traces: Traces, model: str, limits: Any, limit: str
) -> None:
    """At the limit and not at its end: the provider is not paid for what nobody wanted."""
    configure("idlekill", **limits)
    upstream.script(model, {"pause": 0.001, **WORDS})
    response = ask(model, stream=True)
    problem = problem_of(response)
    assert (problem["code"], f" {limit}; " in problem["message"]) == ("forbidden", True)
    assert 40 <= said(response).count("word") < 100
    assert upstream.ended(model)["end"] == "cut"
    (trace,) = traces(1)
    assert (trace["http_status"], 40 <= trace["tokens_out"] < 100) == (403, True)
    upstream.script(model, {"text": "word " * 20})
    assert said(ask(model, stream=True)).count("word") == 20


@BOTH
def test_a_request_that_is_too_much_is_not_sent(
    ask: Ask, configure: Configure, upstream: Upstream, refused: Refusals, stream: bool
) -> None:
    """Its size and the least it costs are known before anybody is asked."""
    configure("idlekill", max_tokens_per_request=100)
    told = refused(ask(MODEL, "word " * 200, stream=stream), 403, "forbidden")
    assert told["error"]["details"]["limit"] == "tokens"
    configure("idlekill", max_cost_per_request=0.0001)
    told = refused(ask("gpt-4o", "word " * 200, stream=stream), 403, "forbidden")
    assert told["error"]["details"]["limit"] == "cost"
    assert upstream.seen(MODEL) == upstream.seen("gpt-4o") == []
    assert ask(MODEL, "word " * 20, stream=stream).status_code == 200


def test_a_loop_is_stopped(
    ask: Ask, configure: Configure, upstream: Upstream, refused: Refusals, admin: Caller, application: Application
) -> None:
    """The caller who repeats one call is told to wait; other calls, and other callers, are not in their way."""
    configure("idlekill", loop_threshold=3, loop_window="60s")
    module = application.runtime.gateway.modules._made["idlekill"]
    began = module.clock()
    assert [ask(MODEL).status_code for _ in range(2)] == [200, 200]
    module.clock = lambda: began + 20
    for _ in range(2):
        response = ask(MODEL)
        assert refused(response, 429, "rate_limited")["error"]["details"] == {"reason": "idlekill", "limit": "loop"}
        assert 38 <= int(response.headers["retry-after"]) <= 41
    assert ask(MODEL, "another").status_code == 200
    assert admin.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    assert len(upstream.seen(MODEL)) == 4
    module.clock = lambda: began + 62
    assert ask(MODEL).status_code == 200
    assert stats(admin) == {"stopped": 0, "loops": 2}
    configure("idlekill", loop_threshold=3, loop_detection=False)
    assert [ask(MODEL).status_code for _ in range(4)] == [200] * 4


def test_limits_of_0_are_none(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """An operator who wants only one of the limits gets only that one."""
    configure("idlekill", max_duration=0, max_cost_per_request=0, max_tokens_per_request=1000)
    upstream.script("gpt-4o", {"delay": 0.1})
    assert ask("gpt-4o", "word " * 100).status_code == 200
    assert said(ask("gpt-4o", "word " * 100, stream=True))
