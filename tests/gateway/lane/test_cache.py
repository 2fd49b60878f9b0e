"""The exact cache: the same answer at no cost, for nobody else, and not for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.factory import Application
from gateway.lane.conftest import Ask, chat, events, said
from gateway.upstream import Upstream
from support.callers import Client

Traces = Callable[..., list[dict[str, Any]]]
MODEL = "gpt-4o-mini"


@pytest.fixture(autouse=True)
def cached(configure: Callable[..., None]) -> None:
    """The cache is off unless an operator switches it on."""
    configure("cachelayer", ttl="1m")


def states(*responses: Any) -> list[str]:
    """What each answer says of the cache."""
    return [response.headers["x-stockyard-cache"] for response in responses]


def test_a_repeated_call_is_answered_from_memory(ask: Ask, upstream: Upstream, traces: Traces) -> None:
    """The second costs nothing and says what it saved."""
    first, second = ask(MODEL), ask(MODEL)
    assert states(first, second) == ["MISS", "HIT"]
    assert (second.content, second.headers["x-stockyard-cached"]) == (first.content, "true")
    assert len(upstream.seen(MODEL)) == 1
    paid, hit = traces(2)
    assert (hit["status"], hit["cost_nano"], hit["saved_nano"]) == ("cache_hit", 0, paid["cost_nano"])
    assert paid["cost_nano"] > 0


@pytest.mark.parametrize("first", [False, True], ids=["plain first", "stream first"])
def test_streams_and_plain_answers_share_the_cache(ask: Ask, upstream: Upstream, first: bool) -> None:
    """A kept answer replays as the stream it would have been, tool calls and usage included."""
    upstream.script(MODEL, {"tools": 2})
    made = [ask(MODEL, stream=s, stream_options={"include_usage": True} if s else None) for s in (first, not first)]
    assert states(*made) == ["MISS", "HIT"]
    plain, streamed = sorted(made, key=lambda r: "event-stream" in r.headers["content-type"])
    calls = [
        c for e in events(streamed)[:-1] for choice in e["choices"] for c in choice["delta"].get("tool_calls") or ()
    ]
    whole = plain.json()["choices"][0]["message"]["tool_calls"]
    assert {c["id"] for c in calls if c.get("id")} == {c["id"] for c in whole}
    joined = "".join(c["function"].get("arguments") or "" for c in calls if c["index"] == 1)
    assert joined == whole[1]["function"]["arguments"]
    assert events(streamed)[-2]["usage"]["total_tokens"] == plain.json()["usage"]["total_tokens"] == 30
    assert events(streamed)[-1] == "[DONE]"


def test_nobody_gets_anothers_answer(client: Client, upstream: Upstream) -> None:
    """The operator, a user and two callers with raw keys ask the same: four answers."""
    callers = [client.user, client.admin, client.bearing("sk-proj-one0123456"), client.bearing("sk-proj-two0123456")]
    made = [c.post("/v1/chat/completions", json=chat(MODEL)) for c in callers * 2]
    assert states(*made) == ["MISS"] * 4 + ["HIT"] * 4
    assert len(upstream.seen(MODEL)) == 4


DIFFERENT: list[dict[str, Any]] = [
    {"temperature": 0.5},
    {"tools": [{"type": "function", "function": {"name": "f"}}]},
    {"response_format": {"type": "json_object"}},
    {"seed": 7},
    {"thing_of_tomorrow": True},
]


@pytest.mark.parametrize("fields", DIFFERENT, ids=lambda f: next(iter(f)))
def test_another_question_has_another_answer(ask: Ask, fields: dict[str, Any]) -> None:
    """Whatever may change the answer is part of the key."""
    assert states(ask(MODEL), ask(MODEL, **fields), ask(MODEL, "hello!")) == ["MISS"] * 3


def test_an_answer_is_for_its_project_and_its_schema_alone(
    ask: Ask, upstream: Upstream, configure: Callable[..., None]
) -> None:
    """Rules are made by project, and a header names what an answer must fit: neither is in the body."""
    schema = {"name": "seats", "schema": '{"type": "object"}'}
    configure("structuredshield", schemas=[schema])
    upstream.script(MODEL, {"text": "four"}, {"text": '{"seats": 4}'}, {"text": "five"})
    plain, fitting = ask(MODEL), ask(MODEL, headers={"x-schema": "seats"})
    assert states(plain, fitting, ask(MODEL, headers={"x-project": "lab"})) == ["MISS"] * 3
    assert fitting.json()["choices"][0]["message"]["content"] == '{"seats": 4}'
    assert states(ask(MODEL), ask(MODEL, headers={"x-schema": "seats"})) == ["HIT"] * 2


def test_a_fresh_answer_can_be_demanded_and_is_kept(ask: Ask, upstream: Upstream) -> None:
    """X-Stockyard-No-Cache skips reading, not writing."""
    upstream.script(MODEL, {"text": "old"}, {"text": "new"})
    ask(MODEL)
    fresh = ask(MODEL, headers={"X-Stockyard-No-Cache": "true"})
    again = ask(MODEL)
    assert states(fresh, again) == ["MISS", "HIT"]
    assert again.json()["choices"][0]["message"]["content"] == "new"


def test_an_answer_grows_old(ask: Ask, application: Application) -> None:
    """After its time the provider is asked again."""
    cache = application.runtime.gateway.answers.memory
    now = [0.0]
    cache._clock = lambda: now[0]
    first = ask(MODEL)
    now[0] = 59.0
    second = ask(MODEL)
    now[0] = 60.0
    assert states(first, second, ask(MODEL)) == ["MISS", "HIT", "MISS"]


def test_a_change_of_settings_forgets_answers(ask: Ask, configure: Callable[..., None]) -> None:
    """An answer made under other rules must not come back."""
    first = ask(MODEL)
    configure("retrypilot", max_retries=1)
    assert states(first, ask(MODEL)) == ["MISS", "MISS"]


@pytest.mark.parametrize("does", [{"status": 500}, {"frames": 3, "then": "reset"}])
def test_a_failure_is_never_kept(ask: Ask, upstream: Upstream, configure: Callable[..., None], does: Any) -> None:
    """Neither a refusal nor half a stream."""
    configure("retrypilot", enabled=False)
    upstream.script(MODEL, does, {})
    ask(MODEL, stream=True)
    again = ask(MODEL, stream=True)
    assert (states(again), said(again)) == (["MISS"], "The train on track four is due at noon.")


def test_without_the_module_nothing_is_kept(ask: Ask, configure: Callable[..., None]) -> None:
    """Switched off means off from the next call on."""
    ask(MODEL)
    configure("cachelayer", enabled=False)
    assert states(ask(MODEL), ask(MODEL)) == ["MISS", "MISS"]
