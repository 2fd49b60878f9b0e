"""Places at a provider: so many calls under way at once; more wait a moment, then go elsewhere or come back later."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.factory import Application
from app.gateway.admission.desk import Admissions
from gateway.lane.conftest import Ask, chat
from gateway.upstream import Upstream
from support.callers import Caller
from support.envelopes import Refusals
from support.together import at_once

# Nothing here depends on the database.
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]
MODEL, ELSEWHERE = "gpt-4o-mini", "llama-3.1-8b-instant"
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])


@pytest.fixture
def placed(configure: Configure) -> Configure:
    """So many places at OpenAI: `placed(2, max_wait="1s")`; no retries, no stand-in."""
    configure("retrypilot", enabled=False)
    configure("failover", enabled=False)

    def put(places: int, **config: Any) -> None:
        configure("queuepriority", limits=[{"provider": "OpenAI", "at_once": places}], **config)

    return put


def stats(admin: Caller) -> dict[str, int]:
    """What the module tells of OpenAI."""
    told: dict[str, int] = admin.get("/api/proxy/modules/queuepriority").json()["stats"]["providers"]["openai"]
    return told


def most_at_once(upstream: Upstream) -> int:
    """How many requests the provider had to answer at the same time."""
    seen = upstream.seen(MODEL)
    return max(sum(other["at"] <= one["at"] < other["ended"] for other in seen) for one in seen)


@STREAMED
def test_no_more_calls_are_under_way_than_there_are_places(
    user: Caller, upstream: Upstream, placed: Configure, admin: Caller, stream: bool
) -> None:
    """All are served, some a little later; a stream keeps its place until it ends."""
    placed(2)
    upstream.script(MODEL, {"delay": 0.05, "pause": 0.01})
    body = chat(MODEL, stream=stream)
    answers = at_once(*[lambda: user.post("/v1/chat/completions", json=body) for _ in range(7)])
    assert [answer.status_code for answer in answers] == [200] * 7
    assert most_at_once(upstream) == 2
    told = stats(admin)
    assert (told["under_way"], told["waiting"], told["refused"]) == (0, 0, 0)
    assert told["waited"] == 5


@STREAMED
def test_a_call_without_a_place_is_told_to_come_back(
    user: Caller, upstream: Upstream, placed: Configure, refused: Refusals, admin: Caller, stream: bool
) -> None:
    """At once when too many wait already, and after the longest wait otherwise."""
    placed(1, max_wait="100ms", max_waiting=1)
    upstream.script(MODEL, {"delay": 0.5})

    def call() -> tuple[Any, float]:
        began = time.monotonic()
        return user.post("/v1/chat/completions", json=chat(MODEL, stream=stream)), time.monotonic() - began

    answers = sorted(at_once(call, call, call), key=lambda answer: answer[1])
    assert [answer.status_code for answer, _ in answers] == [503, 503, 200]
    for answer, _ in answers[:2]:
        told = refused(answer, 503, "unavailable")
        assert told["error"]["details"] == {"provider": "openai", "reason": "queuepriority"}
        assert answer.headers["retry-after"] == "1"
    assert answers[0][1] < 0.4
    assert answers[1][1] >= 0.1
    assert len(upstream.seen(MODEL)) == 1
    assert stats(admin)["refused"] == 2


def test_a_call_without_a_place_goes_to_the_next_provider(
    user: Caller, upstream: Upstream, placed: Configure, configure: Configure
) -> None:
    """A queue is no outage, and what may stand in for one may stand in for the other; no circuit hears of it."""
    placed(1, max_waiting=0)
    configure("failover", models={MODEL: {"groq": ELSEWHERE}}, circuit_breaker={"failure_threshold": 1})
    upstream.script(MODEL, {"delay": 0.3})
    body = chat(MODEL)
    answers = at_once(*[lambda: user.post("/v1/chat/completions", json=body) for _ in range(3)])
    assert sorted(answer.headers["x-stockyard-provider"] for answer in answers) == ["groq", "groq", "openai"]
    assert user.post("/v1/chat/completions", json=body).headers["x-stockyard-provider"] == "openai"


@STREAMED
def test_whatever_becomes_of_a_call_its_place_is_free_again(
    ask: Ask, upstream: Upstream, placed: Configure, admin: Caller, stream: bool
) -> None:
    """A place that is lost is lost until the server is started anew."""
    placed(1, max_waiting=0)
    for does in ({"status": 500}, {"hang": True}, {"frames": 2, "then": "reset"}, {"status": 400}):
        upstream.script(MODEL, does, {})
        ask(MODEL, stream=stream)
        assert ask(MODEL, stream=stream).status_code == 200
        assert stats(admin)["under_way"] == 0


def test_a_call_that_is_asked_again_needs_no_second_place(
    ask: Ask, upstream: Upstream, placed: Configure, configure: Configure
) -> None:
    """Or one that holds the only place would wait for itself."""
    placed(1, max_waiting=1, max_wait="2s")
    configure("evalgate", validators=[{"type": "json_parse", "action": "retry"}])
    upstream.script(MODEL, {"text": "no json"}, {"text": "{}"})
    began = time.monotonic()
    assert ask(MODEL).json()["choices"][0]["message"]["content"] == "{}"
    assert time.monotonic() - began < 1.5


def test_workers_share_a_providers_places(application: Application, configure: Configure) -> None:
    """Four workers with a bound of ten are no forty; and each can always ask."""
    configure("queuepriority", limits=[{"provider": "openai", "at_once": 10}, {"provider": "groq", "at_once": 2}])
    runtime = application.runtime
    shared = Admissions(runtime.secrets, 4)
    found = shared.over(replace(runtime.gateway.config, routed={}))
    assert {name: places.at_once for name, places in shared.places.items()} == {"openai": 2, "groq": 1}
    assert found.accounts["openai"].admission is not None
    assert found.accounts["mistral"].admission is None


def test_without_a_limit_nothing_is_asked_of_a_call(ask: Ask, application: Application, upstream: Upstream) -> None:
    """What is off costs a call one look."""
    assert ask(MODEL).status_code == 200
    gateway = application.runtime.gateway
    assert [target.admission for targets in gateway.config.routed.values() for target in targets] == [None]
