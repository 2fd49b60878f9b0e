"""Trust policies in the lane: on texts both ways, plain and streamed, and on model, tokens and money."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from app.factory import Application
from app.services.revisions import bump
from gateway.lane.conftest import Ask
from gateway.modules.conftest import MODEL, problem_of, text_of
from gateway.upstream import Upstream
from models.base import transaction
from models.trust import TrustPolicy
from support.callers import Caller
from support.receiver import receiving

Enforce = Callable[..., int]
Traces = Callable[..., list[dict[str, Any]]]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
POLICIES = "/api/trust/policies"
SSN = r"\d{3}-\d{2}-\d{4}"


@pytest.fixture
def enforce(admin: Caller) -> Enforce:
    """Makes a policy: `enforce("no-pii", "block", pattern="…")`; its number."""

    def make(name: str, type_: str, **said: Any) -> int:
        made = admin.post(POLICIES, json={"name": name, "type": type_} | said)
        assert made.status_code == 201, made.text
        return int(made.json()["id"])

    return make


@BOTH
def test_the_contracts_own_policy_holds_an_answer_back(
    ask: Ask, admin: Caller, upstream: Upstream, traces: Traces, stream: bool
) -> None:
    """Though its number comes in pieces: of a match that is split over chunks not a digit arrives."""
    rules = [{"field": "response.content", "pattern": SSN}]
    assert admin.post(POLICIES, json={"name": "no-pii", "action": "block", "rules": rules}).status_code == 201
    upstream.script(MODEL, {"text": "It is 123-45-6789 as far as I know.", "pause": 0.02})
    response = ask(MODEL, "What about 987-65-4321?", stream=stream)
    assert upstream.seen(MODEL)[0]["body"]["messages"][0]["content"] == "What about 987-65-4321?"
    error = problem_of(response)
    assert (error["code"], "no-pii" in error["message"]) == ("forbidden", True)
    assert "123" not in response.text
    (trace,) = traces(1)
    assert (trace["status"], trace["http_status"]) == ("error", 403)
    assert "123" not in str(bytes(trace["response"] or b""))


@BOTH
def test_a_policy_redacts_on_the_way_it_names(ask: Ask, enforce: Enforce, upstream: Upstream, stream: bool) -> None:
    """In any case, in prompts, in answers or in both."""
    enforce("in", "redact", pattern="alpha", target="request")
    enforce("out", "redact", pattern="beta")
    enforce("through", "redact", pattern="gamma", target="both")
    upstream.script(MODEL, {"text": "Alpha, Beta and Gamma."})
    response = ask(MODEL, "ALPHA, BETA, GAMMA", stream=stream)
    assert upstream.seen(MODEL)[0]["body"]["messages"][0]["content"] == "[REDACTED], BETA, [REDACTED]"
    assert text_of(response) == "Alpha, [REDACTED] and [REDACTED]."


@BOTH
def test_a_prompt_against_a_policy_never_leaves(ask: Ask, enforce: Enforce, upstream: Upstream, stream: bool) -> None:
    """403 with the policy's name and without the text, and nobody was asked."""
    enforce("secret", "block", pattern="blue bird", target="request")
    response = ask(MODEL, "The Blue Bird flies", stream=stream)
    assert response.status_code == 403
    error = response.json()["error"]
    assert (error["code"], "Blue" in response.text, "trust_enforce.secret" in error["message"]) == (
        "forbidden",
        False,
        True,
    )
    assert upstream.seen(MODEL) == []


def test_warnings_are_told_and_logs_are_not(ask: Ask, enforce: Enforce, upstream: Upstream) -> None:
    """Both let the call pass as it is."""
    enforce("careful", "warn", pattern="danger", target="request")
    enforce("quiet", "log", pattern="danger", target="both")
    response = ask(MODEL, "danger ahead")
    assert response.status_code == 200
    assert response.headers["x-stockyard-warning"] == "trust_enforce.careful"
    assert upstream.seen(MODEL)[0]["body"]["messages"][0]["content"] == "danger ahead"


@pytest.mark.parametrize(("mode", "passing"), [("allow", ["gpt-4o", "gpt-4o-mini"]), ("deny", ["o9-test"])])
def test_only_some_models_may_be_asked(
    ask: Ask, enforce: Enforce, route: Callable[..., None], upstream: Upstream, mode: str, passing: list[str]
) -> None:
    """By the name a call has come to; a route that gives it another name is no way around a ban."""
    route("o9-*", "groq")
    enforce("models", "block", config={"models": "GPT-4O*,x", "models_mode": mode})
    for model in ("gpt-4o", "gpt-4o-mini", "o9-test"):
        expected = 200 if model in passing else 403
        assert ask(model).status_code == expected, model
        assert len(upstream.seen(model)) == (expected == 200)
    route("disguise", "openai", "gpt-4o")
    assert ask("disguise").status_code == (200 if mode == "allow" else 403)


def test_a_model_that_is_only_warned_of_is_asked(ask: Ask, enforce: Enforce, upstream: Upstream) -> None:
    """The caller is told, once."""
    enforce("models", "warn", config={"models": "gpt-4o*", "models_mode": "deny"})
    response = ask(MODEL)
    assert (response.status_code, response.headers["x-stockyard-warning"]) == (200, "trust_enforce.models")


def test_a_stand_in_that_is_banned_is_not_asked(
    ask: Ask, enforce: Enforce, upstream: Upstream, configure: Callable[..., None]
) -> None:
    """When the model asked for keeps failing, the call fails rather than break the policy."""
    configure("retrypilot", max_retries=0, downgrade={"gpt-4o": "gpt-4o-mini"}, downgrade_after=1)
    upstream.script("gpt-4o", {"status": 500}, {"status": 500})
    assert ask("gpt-4o").status_code == 200
    enforce("big-only", "block", config={"models": "gpt-4o"})
    assert ask("gpt-4o").status_code == 502
    assert len(upstream.seen("gpt-4o-mini")) == 1


@BOTH
def test_an_answer_may_not_be_longer_than_a_policy_says(
    ask: Ask, enforce: Enforce, upstream: Upstream, stream: bool
) -> None:
    """More is refused, and who does not say how many tokens they want gets the most there may be."""
    enforce("short", "block", config={"max_tokens": 50})
    assert ask(MODEL, max_tokens=51, stream=stream).status_code == 403
    assert ask(MODEL, max_completion_tokens=51, stream=stream).status_code == 403
    assert upstream.seen(MODEL) == []
    for fields in ({"max_tokens": 50}, {}):
        assert ask(MODEL, stream=stream, **fields).status_code == 200
    assert [seen["body"].get("max_tokens") for seen in upstream.seen(MODEL)] == [50, None]
    assert upstream.seen(MODEL)[1]["body"]["max_completion_tokens"] == 50


def test_older_and_other_wires_keep_to_policies_too(enforce: Enforce, user: Caller, upstream: Upstream) -> None:
    """None of them is the way around."""
    enforce("short", "block", config={"max_tokens": 50})
    enforce("town", "redact", pattern="bern", target="both")
    upstream.script(MODEL, {"text": "In Bern"}, {"text": "In Bern"})
    plain = user.post("/v1/completions", json={"model": MODEL, "prompt": "To Bern"})
    assert plain.json()["choices"][0]["text"] == "In [REDACTED]"
    asked = upstream.seen(MODEL)[0]["body"]
    assert (asked["prompt"], asked["max_tokens"]) == ("To [REDACTED]", 50)
    told = [{"role": "user", "content": "To Bern"}]
    messages = {"model": MODEL, "messages": told, "max_tokens": 51}
    assert user.post("/v1/messages", json=messages).status_code == 403
    answer = user.post("/v1/messages", json=messages | {"max_tokens": 50})
    assert answer.json()["content"][0]["text"] == "In [REDACTED]"
    vectors = user.post("/v1/embeddings", json={"model": "text-embedding-3-small", "input": ["In Bern"]})
    assert vectors.status_code == 200
    assert upstream.seen("text-embedding-3-small")[0]["body"]["input"] == ["In [REDACTED]"]


def test_a_call_may_not_cost_more_than_a_policy_says(
    ask: Ask, enforce: Enforce, upstream: Upstream, traces: Traces
) -> None:
    """At worst, before anybody is asked; without a price the worst has to be assumed."""
    enforce("cheap", "block", config={"max_cost": 0.001})
    refused = ask("gpt-4o", max_tokens=1000)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    assert "USD" in refused.json()["error"]["message"]
    assert ask("never-heard-of", max_tokens=1).status_code == 403
    assert upstream.seen("gpt-4o") + upstream.seen("never-heard-of") == []
    assert ask("gpt-4o-mini", max_tokens=100).status_code == 200
    assert [trace["cost_nano"] == 0 for trace in traces(3)] == [True, True, False]


def test_policies_apply_from_the_next_call_and_while_the_module_is_on(
    ask: Ask, enforce: Enforce, admin: Caller, upstream: Upstream
) -> None:
    """A policy, or all of them, can be switched off and on again."""
    place = f"{POLICIES}/{enforce('birds', 'block', pattern='bluebird', target='request')}"

    def answered() -> int:
        return int(ask(MODEL, "bluebird").status_code)

    found = [answered()]
    for path, body in (
        (place, {"enabled": False}),
        (place, {"enabled": True}),
        ("/api/proxy/modules/trust_enforce", {"enabled": False}),
        ("/api/proxy/modules/trust_enforce", {"enabled": True}),
        ("/api/proxy/modules/trust_enforce", {"config": {"check_request": False}}),
        ("/api/proxy/modules/trust_enforce", {"config": {"check_request": True}}),
    ):
        assert admin.put(path, json=body).status_code == 200
        found.append(answered())
    assert admin.delete(place).status_code == 200
    assert [*found, answered()] == [403, 200, 403, 200, 403, 200, 403, 200]


@pytest.mark.parametrize(("on_error", "status"), [("block", 503), ("pass", 200)])
def test_a_policy_that_cannot_be_read_does_as_is_set(
    ask: Ask, enforce: Enforce, application: Application, configure: Any, on_error: str, status: int
) -> None:
    """As after an upgrade of the engine of patterns: by itself it stops all calls, for nobody knows what it forbade."""
    number = enforce("birds", "block", pattern="bluebird", target="both")
    with transaction(application.runtime.engine) as opened:
        broken = [{"target": "both", "pattern": "(", "description": ""}]
        opened.execute(update(TrustPolicy).where(TrustPolicy.id == number).values(rules=broken))
        bump()
    configure("trust_enforce", on_error=on_error)
    assert ask(MODEL, "To Bern").status_code == status
    assert ask(MODEL, "bluebird in Bern").status_code == status


def test_a_cached_answer_does_not_outlive_a_policy(
    ask: Ask, enforce: Enforce, upstream: Upstream, configure: Callable[..., None]
) -> None:
    """What was kept before it was forbidden must not come from the cache afterwards."""
    configure("cachelayer", ttl="1h")
    upstream.script(MODEL, {"text": "a bluebird"}, {"text": "a bluebird"})
    for _ in range(2):
        assert text_of(ask(MODEL, temperature=0)) == "a bluebird"
    assert len(upstream.seen(MODEL)) == 1
    enforce("birds", "redact", pattern="bluebird")
    assert text_of(ask(MODEL, temperature=0)) == "a [REDACTED]"


def test_a_violation_is_an_event_of_its_policy(ask: Ask, enforce: Enforce, admin: Caller, upstream: Upstream) -> None:
    """Listed with what guardrails found, apart from a rule of the same name; the text is nowhere in it."""
    enforce("birds", "log", pattern="bluebird", target="both")
    rule = {"name": "trust_enforce.birds", "pattern": "bluebird", "action": "log"}
    assert admin.post("/api/guardrails", json=rule).status_code == 201
    upstream.script(MODEL, {"text": "What bluebird?"})
    answer = ask(MODEL, "a bluebird, a bluebird")
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + 5
    while len(found) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
        found = admin.get("/api/guardrails/events").json()["events"]
    told = sorted((e["rule_type"], e["direction"], e["matches"]) for e in found)
    assert told == [(kind, *way) for kind in ("custom", "policy") for way in (("input", 2), ("output", 1))]
    assert {event["rule_name"] for event in found} == {"trust_enforce.birds"}
    assert {event["trace_id"] for event in found} == {answer.headers["x-stockyard-trace-id"]}
    assert "bluebird" not in json.dumps(found)
    stats = admin.get("/api/proxy/modules/trust_enforce").json()
    assert (stats["implemented"], stats["enabled"], stats["stats"]["log"]) == (True, True, 3)


@pytest.mark.settings(engine="on", outbound_allow="127.0.0.1")
def test_a_violation_is_announced(ask: Ask, enforce: Enforce, upstream: Upstream, admin: Caller) -> None:
    """As `trust.violation` and not as a guardrail's, by policy, type, model and direction."""
    with receiving() as receiver:
        assert admin.post("/api/webhooks", json={"url": receiver.url}).status_code == 201
        enforce("no-pii", "redact", pattern=SSN)
        upstream.script(MODEL, {"text": "It is 123-45-6789."})
        answer = ask(MODEL)
        data = receiver.of("trust.violation")[0].body["data"]
        assert data == {
            "count": 1,
            "policy": "no-pii",
            "type": "redact",
            "model": MODEL,
            "direction": "response",
            "project": "default",
            "matches": 1,
            "trace_ids": [answer.headers["x-stockyard-trace-id"]],
        }
        assert "guardrail.violation" not in receiver.events()
        assert not [post for post in receiver.posts if b"123-45" in post.raw]
