"""Modules that ask: a form's next question instead of the model, and a model about fewer tools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.lane.conftest import Ask
from gateway.modules.conftest import MODEL, text_of
from gateway.upstream import Upstream
from support.callers import Caller

pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]
Json = dict[str, Any]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
SLOTS = [
    {"name": "mail", "question": "Your e-mail?", "pattern": r"\S+@\S+"},
    {"name": "town", "question": "Which town?"},
]


@BOTH
def test_a_form_is_filled_in_before_the_model_is_asked(
    ask: Ask, configure: Configure, upstream: Upstream, stream: bool
) -> None:
    """One question after another, at no cost; then the model knows what was given."""
    configure("slotfill", slots=SLOTS)
    messages = [{"role": "user", "content": "I want a ticket"}]
    for answer in ("no idea", "me@example.com", "Bern"):
        question = text_of(ask(MODEL, messages=messages, stream=stream))
        messages += [{"role": "assistant", "content": question}, {"role": "user", "content": answer}]
    asked = [message["content"] for message in messages if message["role"] == "assistant"]
    assert asked == ["Your e-mail?", "Your e-mail?", "Which town?"]
    assert upstream.seen(MODEL) == []
    assert text_of(ask(MODEL, messages=messages, stream=stream)).startswith("The train")
    told = upstream.seen(MODEL)[-1]["body"]["messages"][0]
    assert told == {"role": "system", "content": "The user filled in this form:\nmail: me@example.com\ntown: Bern"}


def test_a_form_is_not_asked_for_without_end_nor_elsewhere(
    ask: Ask, configure: Configure, upstream: Upstream, admin: Caller
) -> None:
    """After so many questions the model has its turn; other projects have no form."""
    configure("slotfill", slots=SLOTS[:1], max_turns=1, projects=["desk"])
    assert text_of(ask(MODEL)).startswith("The train")
    desk = {"x-project": "desk"}
    assert text_of(ask(MODEL, headers=desk)) == "Your e-mail?"
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Your e-mail?"}]
    ask(MODEL, messages=[*messages, {"role": "user", "content": "never"}], headers=desk)
    assert "mail: (not given)" in upstream.seen(MODEL)[-1]["body"]["messages"][0]["content"]
    stats = admin.get("/api/proxy/modules/slotfill").json()["stats"]
    assert stats == {"asked": 1, "completed": 0, "given_up": 1}


def tool(name: str, about: str, *fields: str) -> Json:
    """A tool as it is offered."""
    parameters = {"type": "object", "properties": {field: {"type": "string"} for field in fields}}
    return {"type": "function", "function": {"name": name, "description": about, "parameters": parameters}}


TOOLS = [
    tool("get_weather", "Tells the forecast for a place", "city"),
    tool("send_mail", "Sends an e-mail", "recipient"),
    tool("book_train", "Books a seat", "departure"),
    tool("list_files", "Lists documents"),
    tool("call_taxi", "Orders a car"),
]


def offered(upstream: Upstream) -> list[str]:
    """The tools the provider was sent last."""
    return [tool["function"]["name"] for tool in upstream.seen(MODEL)[-1]["body"]["tools"]]


@BOTH
def test_a_model_is_offered_the_tools_that_fit(
    ask: Ask, configure: Configure, upstream: Upstream, stream: bool
) -> None:
    """By their words, in their order; few enough stay all."""
    configure("toolrouter", max_tools=2)
    ask(MODEL, "Which trains have free seats? And the weather forecasts?", tools=TOOLS, stream=stream)
    assert offered(upstream) == ["get_weather", "book_train"]
    ask(MODEL, "mail", tools=TOOLS[:2], stream=stream)
    assert offered(upstream) == ["get_weather", "send_mail"]


def test_tools_that_must_be_there_are(ask: Ask, configure: Configure, upstream: Upstream, admin: Caller) -> None:
    """What was called before, what must be called, and what an operator always wants."""
    configure("toolrouter", max_tools=1, always=["call_*"])
    called = {"id": "c", "type": "function", "function": {"name": "list_files", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "c", "content": "none"},
    ]
    choice = {"type": "function", "function": {"name": "send_mail"}}
    ask(MODEL, messages=messages, tools=TOOLS, tool_choice=choice)
    assert offered(upstream) == ["send_mail", "list_files", "call_taxi"]
    assert admin.get("/api/proxy/modules/toolrouter").json()["stats"] == {"routed": 1, "withheld": 2}


@BOTH
def test_tools_are_answered_from_fixtures(
    ask: Ask, configure: Configure, upstream: Upstream, traces: Callable[..., list[Json]], stream: bool
) -> None:
    """Call by call, until the model says something; what it took is paid for, and nobody else carried anything out."""
    configure("toolmock", fixtures=[{"tool": "weather", "arguments": "Bern", "result": "Sunny, 20 degrees"}])
    upstream.script(MODEL, {"tools": 2}, {"tools": 1}, {"text": "It is sunny."})
    assert text_of(ask(MODEL, "Weather?", tools=TOOLS, stream=stream)) == "It is sunny."
    said = [(m["role"], m["content"]) for m in upstream.seen(MODEL)[-1]["body"]["messages"]]
    sunny = ("tool", "Sunny, 20 degrees")
    assert said == [("user", "Weather?"), ("assistant", None), sunny, sunny, ("assistant", None), sunny]
    (trace,) = traces(1)
    assert (trace["tokens_in"], trace["tokens_out"], trace["attempts"]) == (60, 30, 3)


def test_calls_without_a_fixture_or_an_end_are_the_callers(
    ask: Ask, configure: Configure, upstream: Upstream, admin: Caller
) -> None:
    """A half-mocked answer would carry out half of it; and no loop is paid for without end."""
    configure("toolmock", fixtures=[{"tool": "weather", "arguments": "Basel"}])
    upstream.script(MODEL, {"tools": 2})
    assert len(ask(MODEL).json()["choices"][0]["message"]["tool_calls"]) == 2
    assert len(upstream.seen(MODEL)) == 1
    configure("toolmock", fixtures=[{"tool": "weather", "result": "x"}], max_rounds=3)
    assert len(ask(MODEL).json()["choices"][0]["message"]["tool_calls"]) == 2
    assert len(upstream.seen(MODEL)) == 5
    stats = admin.get("/api/proxy/modules/toolmock").json()["stats"]
    assert stats == {"answered": 8, "passed": 2, "exhausted": 1}


def test_what_fixtures_add_is_held_before_the_call(
    ask: Ask, configure: Configure, upstream: Upstream, refused: Any
) -> None:
    """A budget with room for one answer has none for what the tools' results may cost."""
    configure("costcap", daily_limit_usd=0.001)
    assert ask(MODEL, max_tokens=5).status_code == 200
    configure("toolmock", fixtures=[{"tool": "weather", "result": "x" * 5000}])
    assert refused(ask(MODEL, max_tokens=5), 429)["error"]["details"]["needed"] > 0.001


CHAINS = [{"name": "report", "prompts": ["List the facts.", "Now shorten."]}, {"name": "other", "prompts": ["Rhyme."]}]


@BOTH
def test_prompts_follow_one_another(
    ask: Ask, configure: Configure, upstream: Upstream, traces: Callable[..., list[Json]], stream: bool
) -> None:
    """Each with the answers before it; the caller reads the last one, and pays for all."""
    configure("promptchain", chains=CHAINS)
    upstream.script(MODEL, {"text": "facts"}, {"text": "short"})
    assert text_of(ask(MODEL, "About trains", headers={"x-chain": "report"}, stream=stream)) == "short"
    said = [message["content"] for message in upstream.seen(MODEL)[-1]["body"]["messages"]]
    assert said == ["About trains", "List the facts.", "facts", "Now shorten."]
    (trace,) = traces(1)
    assert (trace["tokens_in"], trace["attempts"]) == (40, 2)
    assert ask(MODEL, headers={"x-chain": "nobody"}, stream=stream).status_code == 404


def test_answers_that_depend_on_a_header_are_cached_apart(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """The same question to another chain, for another form or another schema is another question."""
    configure("cachelayer")
    configure("promptchain", chains=[{"name": "a", "prompts": ["x", "y"]}, {"name": "b", "prompts": ["x", "z"]}])
    configure("extractml", into="content")
    configure("structuredshield", schemas=[{"name": "any", "schema": "{}"}])
    upstream.script(MODEL, {"text": '```json\n{"a": 1}\n```'})
    asked: list[dict[str, str]] = [{}, {"x-chain": "a"}, {"x-chain": "b"}, {"x-extract": "json"}, {"x-schema": "any"}]
    for state in ("MISS", "HIT"):
        answers = [ask(MODEL, headers=headers) for headers in asked]
        assert [answer.headers["x-stockyard-cache"] for answer in answers] == [state] * len(asked)
    assert [text_of(answers[at]) for at in (0, 3, 4)] == ['```json\n{"a": 1}\n```', '{"a":1}', '{"a": 1}']


def test_a_stream_waits_only_for_what_it_asked_for(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """Modules that need the whole answer of some calls leave the others' streams alone."""
    configure("promptchain", chains=CHAINS)
    configure("extractml")
    configure("structuredshield", schemas=[{"name": "any", "schema": "{}"}])
    configure("toolmock", fixtures=[{"tool": "weather", "result": "x"}])
    assert text_of(ask(MODEL, stream=True)).startswith("The train")
    assert upstream.seen(MODEL)[-1]["body"]["stream"] is True
    ask(MODEL, stream=True, headers={"x-extract": "json"})
    assert "stream" not in upstream.seen(MODEL)[-1]["body"]
