"""Several models at once: the right answer returned, and every call paid for, traced and ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.lane.conftest import Ask
from gateway.lane.test_caps import Money
from gateway.modules.conftest import problem_of, text_of
from gateway.upstream import Upstream
from support.callers import Caller, Client

Configure = Callable[..., None]
Traces = Callable[..., list[dict[str, Any]]]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
MODELS = ["gpt-4o-mini", "gpt-4o", "gpt-4.1-nano"]
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")


@pytest.fixture
def asked(ask: Ask, configure: Configure, upstream: Upstream) -> Callable[..., Any]:
    """`asked("longest", {"text": …}, {…}, stream=…)`: what a call over a route of these models is answered."""

    def call(strategy: str, *steps: dict[str, Any], stream: bool = False, timeout: str = "5s", **more: Any) -> Any:
        route = {"name": "both", "models": MODELS[: len(steps)], "strategy": strategy, "timeout": timeout}
        configure("multicall", routes=[route], **more)
        for model, step in zip(MODELS, steps, strict=False):
            upstream.script(model, step)
        return ask("gpt-anything", headers={"x-multicall-route": "both"}, stream=stream)

    return call


@pytest.mark.parametrize(
    ("strategy", "texts", "returned"),
    [
        ("longest", ("Short.", "A rather long answer.", "Medium size."), "A rather long answer."),
        ("shortest", ("Short.", "A rather long answer.", "Medium size."), "Short."),
        ("cheapest", ("From mini", "From the dear one", "From nano"), "From nano"),
        ("consensus", ("It is Bern.", "It is Zurich!", "it is  bern"), "It is Bern."),
    ],
)
def test_the_answer_a_strategy_chooses_is_returned(
    asked: Callable[..., Any], traces: Traces, *, strategy: str, texts: tuple[str, ...], returned: str
) -> None:
    """Every model is asked, and each call is in the traces with its cost; the answer's headers lead to its own."""
    for stream in (False, True):
        answer = asked(strategy, *({"text": text} for text in texts), stream=stream)
        assert text_of(answer) == returned
    rows = traces(6)[3:]
    assert {row["model"] for row in rows} == set(MODELS)
    assert all(row["cost_nano"] > 0 and row["status"] == "ok" for row in rows)
    mine = next(row for row in rows if row["id"] == answer.headers["x-stockyard-trace-id"])
    assert MODELS.index(mine["model"]) == texts.index(returned)
    noted = [json.loads(row["details"])["multicall"] for row in rows]
    assert len({one["call"] for one in noted}) == 1
    assert all(one["route"] == "both" for one in noted)


@BOTH
def test_the_fastest_is_answered_and_the_others_are_ended_and_paid(
    asked: Callable[..., Any], traces: Traces, upstream: Upstream, admin: Caller, *, stream: bool
) -> None:
    """The caller does not wait for a slow model, and the slow model is not left running; what it was sent is paid."""
    slow = {"first": 30, "delay": 0 if stream else 30}
    began = time.monotonic()
    answer = asked("fastest", slow, {"text": "Quick"}, stream=stream)
    assert text_of(answer) == "Quick"
    assert time.monotonic() - began < 5
    assert answer.headers["x-stockyard-model"] == "gpt-4o"
    assert upstream.ended("gpt-4o-mini")["end"] == "cut"
    rows = {row["model"]: row for row in traces(2)}
    lost = rows["gpt-4o-mini"]
    assert (lost["status"], lost["http_status"], lost["error"]) == ("ok", 499, "another model answered first")
    assert lost["cost_nano"] > 0
    assert lost["usage_source"] == "estimated"
    counted = admin.get("/api/proxy/modules/multicall").json()["stats"]
    assert counted == {"calls": 1, "arms": 2, "outrun": 1, "late": 0, "failed": 0, "won": {"gpt-4o": 1}}


def test_of_two_streams_that_begin_together_one_is_sent_and_both_are_paid(
    asked: Callable[..., Any], traces: Traces, upstream: Upstream
) -> None:
    """The race is to the first token: who lost it by a hair is closed like the others."""
    answer = asked("fastest", *({"text": "one two three four", "pause": 0.05} for _ in MODELS), stream=True)
    assert text_of(answer) == "one two three four"
    rows = traces(3)
    assert sorted(row["http_status"] for row in rows) == [200, 499, 499]
    assert all(row["cost_nano"] > 0 for row in rows)
    assert {upstream.ended(model)["end"] for model in MODELS} <= {"cut", "done"}


def test_one_that_fails_does_not_stop_the_others(asked: Callable[..., Any], traces: Traces) -> None:
    """A refusal is quicker than any answer, and is none."""
    for stream in (False, True):
        answer = asked("fastest", {"status": 400}, {"text": "Here", "delay": 0.1}, stream=stream)
        assert text_of(answer) == "Here"
    assert sorted(row["status"] for row in traces(4)) == ["error", "error", "ok", "ok"]


def test_when_all_fail_the_first_models_refusal_is_told(asked: Callable[..., Any], traces: Traces) -> None:
    """With the trace of that call; nothing is traced but the calls."""
    answer = asked("longest", {"status": 400}, {"status": 404})
    assert answer.status_code == 400
    rows = traces(2)
    assert answer.headers["x-stockyard-trace-id"] in {row["id"] for row in rows if row["model"] == MODELS[0]}
    assert {row["status"] for row in rows} == {"error"}


@pytest.mark.parametrize(("fallback", "status"), [("fastest_available", 200), ("error", 504)])
def test_time_runs_out(
    asked: Callable[..., Any], traces: Traces, upstream: Upstream, *, fallback: str, status: int
) -> None:
    """What came by then is returned, or nothing is, as the operator chose; the late one is ended and paid."""
    steps = ({"delay": 30}, {"text": "In time"})
    answer = asked("longest", *steps, timeout="300ms", fallback_on_timeout=fallback)
    assert answer.status_code == status
    assert upstream.ended(MODELS[0])["end"] == "cut"
    rows = {row["model"]: row for row in traces(2)}
    assert (rows[MODELS[0]]["status"], rows[MODELS[0]]["http_status"]) == ("error", 504)
    assert rows[MODELS[0]]["cost_nano"] > 0
    assert rows[MODELS[1]]["status"] == "ok"
    assert answer.headers["x-stockyard-trace-id"] == rows[MODELS[1 if status == 200 else 0]]["id"]


@BOTH
def test_every_model_asked_counts_against_a_budget(
    asked: Callable[..., Any], configure: Configure, traces: Traces, user: Caller, *, stream: bool
) -> None:
    """A budget with no room for the dear model refuses that call alone; one with room for none refuses all."""
    configure("costcap", daily_limit_usd=0.02)
    answer = asked("longest", {"text": "Cheap"}, {"text": "The longer and dearer one"}, stream=stream)
    assert text_of(answer) == "Cheap"
    refused = next(row for row in traces(2) if row["model"] == "gpt-4o")
    assert (refused["status"], refused["http_status"], refused["cost_nano"]) == ("error", 429, 0)
    configure("costcap", daily_limit_usd=0.000_001)
    body = {"model": "x", "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    none = user.post("/v1/chat/completions", json=body, headers={"x-multicall-route": "both"})
    assert (none.status_code, problem_of(none)["code"]) == (429, "rate_limited")


def test_budgets_and_traces_agree_to_the_nano_dollar(
    asked: Callable[..., Any], configure: Configure, traces: Traces, client: Client
) -> None:
    """After answers, races, refusals and calls that came too late: nothing stays reserved, and nothing is lost."""
    configure("costcap", daily_limit_usd=5, monthly_limit_usd=50)
    money = Money(client.application)
    for stream in (False, True):
        asked("longest", {"text": "Brief"}, {"text": "Rather longer"}, {"status": 400}, stream=stream)
        asked("fastest", {"delay": 30}, {"text": "Quick"}, {"text": "Quick"}, stream=stream)
        asked("cheapest", {"text": "In time"}, {"delay": 30}, stream=stream, timeout="200ms")
    spent = sum(row["cost_nano"] for row in traces(16))
    assert spent > 0
    assert set(money.settled().values()) == {(spent, 0)}
    counted = client.application.runtime.gateway.tally.spent_nano
    assert counted == spent


def test_a_route_that_is_not_there_is_a_404_and_no_header_is_an_ordinary_call(
    asked: Callable[..., Any], ask: Ask, upstream: Upstream, admin: Caller
) -> None:
    """Nobody is asked several times by accident."""
    assert asked("longest", {"text": "a"}, {"text": "bb"}).status_code == 200
    assert ask("gpt-4o", headers={"x-multicall-route": "other"}).status_code == 404
    assert text_of(ask("gpt-4.1-nano")) != "bb"
    assert len(upstream.seen("gpt-4o-mini")) == 1
    assert admin.get("/api/proxy/modules/multicall").json()["stats"]["calls"] == 1


def test_what_modules_say_of_an_answer_holds_for_each(
    asked: Callable[..., Any], configure: Configure, traces: Traces
) -> None:
    """The longest answer that may leave: one that a guardrail stops is none."""
    configure("codefence", action="block")
    answer = asked("longest", {"text": "Run rm -rf / and all will be well again"}, {"text": "Fine."})
    assert text_of(answer) == "Fine."
    assert sorted(row["http_status"] for row in traces(2)) == [200, 403]


WIRES = {
    "/v1/messages": {"max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]},
    "/v1/responses": {"input": "hello"},
    "/v1/completions": {"prompt": "hello"},
}


@pytest.mark.parametrize("strategy", ["fastest", "longest"])
def test_every_wire_can_ask_several_models(
    asked: Callable[..., Any], user: Caller, traces: Traces, *, strategy: str
) -> None:
    """In its own form, streamed or not."""
    asked(strategy, {"text": "Brief", "delay": 0.3}, {"text": "Rather longer"})
    for path, asks in WIRES.items():
        for stream in (False, True):
            body = {"model": "any", "stream": stream} | asks
            answer = user.post(path, json=body, headers={"x-multicall-route": "both"})
            assert answer.status_code == 200, answer.text
            assert answer.headers["content-type"].startswith("text/event-stream") == stream
            assert "longer" in answer.text
            assert "Brief" not in answer.text
    assert len(traces(14)) == 14
