"""Guardrail rules in the lane: what goes to the model and what comes back, plain and streamed alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from app.gateway.accumulate import accumulate
from gateway.lane.conftest import Ask, events
from gateway.modules.conftest import MODEL, problem_of, text_of
from gateway.upstream import Upstream
from support.callers import Caller

Guard = Callable[..., int]
Traces = Callable[..., list[dict[str, Any]]]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


@BOTH
def test_a_match_is_redacted_on_both_ways(
    ask: Ask, guard: Guard, upstream: Upstream, traces: Traces, stream: bool
) -> None:
    """Neither the provider nor the caller sees it, nor does anybody in the trace."""
    guard("birds", r"blue\s*bird \d+", "redact")
    upstream.script(MODEL, {"text": "You mean Blue bird 77 and BLUEBIRD 8, or a blue bird."})
    response = ask(MODEL, "What is bluebird 12?", stream=stream)
    assert text_of(response) == "You mean [REDACTED] and [REDACTED], or a blue bird."
    assert upstream.seen(MODEL)[0]["body"]["messages"][0]["content"] == "What is [REDACTED]?"
    (trace,) = traces(1)
    kept = json.dumps([trace["request"], trace["response"]], default=lambda b: bytes(b).decode())
    assert "[REDACTED]" in kept
    assert [said for said in ("bluebird 12", "Blue bird 77", "BLUEBIRD 8") if said in kept] == []


@BOTH
def test_a_blocked_prompt_never_leaves(
    ask: Ask, guard: Guard, upstream: Upstream, traces: Traces, stream: bool
) -> None:
    """403, and no provider was asked or paid."""
    guard("birds", "bluebird", "block")
    response = ask(MODEL, "What is BlueBird?", stream=stream)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (403, "forbidden")
    assert "birds" in error["message"]
    assert upstream.seen(MODEL) == []
    (trace,) = traces(1)
    assert (trace["status"], trace["http_status"], trace["cost_nano"]) == ("error", 403, 0)
    assert "BlueBird" not in json.dumps(trace, default=str)


@BOTH
def test_a_blocked_answer_never_arrives(
    ask: Ask, guard: Guard, upstream: Upstream, traces: Traces, stream: bool
) -> None:
    """What stands before it in a stream may have gone; of the match itself not a letter. The provider is paid."""
    guard("birds", "blue bird", "block")
    upstream.script(MODEL, {"text": "The name is blue bird of course.", "pause": 0.03})
    response = ask(MODEL, stream=stream)
    assert "blue" not in response.text.replace("birds", "")
    assert problem_of(response)["code"] == "forbidden"
    assert response.status_code == (200 if stream else 403)
    (trace,) = traces(1)
    assert (trace["status"], trace["http_status"]) == ("error", 403)
    assert trace["cost_nano"] > 0
    assert "blue" not in str(bytes(trace["response"] or b""))


def test_a_filtered_stream_is_the_filtered_answer(ask: Ask, guard: Guard, upstream: Upstream) -> None:
    """Tool calls and usage pass in order, `[DONE]` comes last, and the sum of the chunks is the plain answer."""
    guard("town", "ber[a-z]", "redact")
    for does in ({"text": "To Bern and Berlin, ber"}, {"tools": 2}, {"text": "ünïcødé Bern 🚂", "usage": None}):
        upstream.script(MODEL, does)
        plain = ask(MODEL).json()
        streamed = ask(MODEL, stream=True, stream_options={"include_usage": True})
        *chunks, last, done = events(streamed)
        assert accumulate(chunks)["choices"] == plain["choices"]
        assert (done, last["choices"]) == ("[DONE]", [])
        assert last["usage"]["total_tokens"] == plain["usage"]["total_tokens"] or "usage" in does
        assert "Bern" not in json.dumps(plain)


def test_rules_apply_by_priority_and_only_to_their_project(ask: Ask, guard: Guard, upstream: Upstream) -> None:
    """A rule of another project is not even looked at."""
    guard("late", "secret", "block")
    guard("early", "secret word", "redact", priority=5)
    guard("elsewhere", "word", "block", project="other")
    assert ask(MODEL, "a secret word").status_code == 200
    assert ask(MODEL, "a secret thing").status_code == 403
    assert ask(MODEL, "a word", headers={"x-project": "other"}).status_code == 403


def test_a_warning_is_told_and_a_log_is_not(ask: Ask, guard: Guard, upstream: Upstream) -> None:
    """Both let the call pass untouched."""
    guard("careful", "danger", "warn")
    guard("quiet", "danger", "log")
    response = ask(MODEL, "danger ahead")
    assert response.headers["x-stockyard-warning"] == "careful"
    assert upstream.seen(MODEL)[0]["body"]["messages"][0]["content"] == "danger ahead"


def test_a_removed_rule_no_longer_applies(ask: Ask, guard: Guard, admin: Caller) -> None:
    """From the next call in the worker that was told."""
    number = guard("birds", "bluebird", "block")
    assert ask(MODEL, "bluebird").status_code == 403
    assert admin.put(f"/api/guardrails/{number}", json={"enabled": False}).status_code == 200
    assert ask(MODEL, "bluebird").status_code == 200
    admin.put(f"/api/guardrails/{number}", json={"enabled": True, "pattern": "redbird"})
    assert [ask(MODEL, text).status_code for text in ("bluebird", "redbird")] == [200, 403]
    assert admin.delete(f"/api/guardrails/{number}").json() == {"status": "deleted"}
    assert ask(MODEL, "redbird").status_code == 200


def test_legacy_completions_are_guarded_too(guard: Guard, user: Caller, upstream: Upstream) -> None:
    """The older wire must not be the way around."""
    guard("town", "ber[a-z]", "redact")
    upstream.script(MODEL, {"text": "To Bern or Berlin"})
    body = {"model": MODEL, "prompt": "From Bern"}
    assert user.post("/v1/completions", json=body).json()["choices"][0]["text"] == "To [REDACTED] or [REDACTED]in"
    streamed = events(user.post("/v1/completions", json=body | {"stream": True}))[:-1]
    text = "".join(choice["text"] for event in streamed for choice in event["choices"])
    assert text.split() == ["To", "[REDACTED]", "or", "[REDACTED]in"]
    assert {seen["body"]["prompt"] for seen in upstream.seen(MODEL)} == {"From [REDACTED]"}


def test_texts_to_embed_are_guarded_too(guard: Guard, user: Caller, upstream: Upstream) -> None:
    """What is only measured leaves the house all the same."""
    guard("town", "bern", "redact")
    model = "text-embedding-3-small"
    assert user.post("/v1/embeddings", json={"model": model, "input": ["In Bern", "x"]}).status_code == 200
    assert upstream.seen(model)[0]["body"]["input"] == ["In [REDACTED]", "x"]
