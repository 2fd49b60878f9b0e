"""Kept answers, replayed at a reader's pace."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from app.factory import Application
from app.gateway.replaying import pieces, unfolded
from gateway.lane.conftest import Ask, events
from gateway.modules.conftest import MODEL, text_of
from gateway.upstream import Upstream
from support.callers import Client

# What it does does not depend on the database.
ONE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]
Traces = Callable[..., list[dict[str, Any]]]
TEXT = "  One two,\n\nthree four " + " ".join(["word"] * 16) + "\n"


def timed(ask: Ask, **fields: Any) -> tuple[Any, float]:
    """The answer, and the seconds it took."""
    began = time.monotonic()
    answer = ask(MODEL, stream=True, **fields)
    return answer, time.monotonic() - began


@ONE
def test_a_kept_answer_is_replayed_at_its_pace(
    ask: Ask, configure: Configure, upstream: Upstream, client: Client, traces: Traces
) -> None:
    """Whole and word by word; what is new or plain, or comes under a key, is not held back."""
    upstream.script(MODEL, {"text": TEXT})
    configure("cachelayer")
    assert text_of(ask(MODEL)) == TEXT
    quick, _ = timed(ask)
    assert (text_of(quick), len(events(quick))) == (TEXT, 3)
    configure("cachelayer")
    configure("streamcache", replay_speed=50)
    ask(MODEL)
    slow, took = timed(ask, stream_options={"include_usage": True})
    assert (text_of(slow), slow.headers["x-stockyard-cache"]) == (TEXT, "HIT")
    assert 0.3 <= took < 5
    assert len(events(slow)) == 23
    assert (events(slow)[-2]["usage"]["total_tokens"], events(slow)[-3]["choices"][0]["finish_reason"]) == (30, "stop")
    assert text_of(ask(MODEL)) == TEXT
    again, _ = timed(ask, headers={"Idempotency-Key": "once"})
    assert len(events(again)) == 3
    assert client.admin.get("/api/proxy/modules/streamcache").json()["stats"] == {"replayed": 1}
    assert {row["status"] for row in traces(6)} == {"ok", "cache_hit"}


@ONE
def test_a_pace_slower_than_a_clients_patience_keeps_it_awake(
    ask: Ask, configure: Configure, upstream: Upstream, application: Application
) -> None:
    """A comment is sent as often as when a provider is quiet."""
    application.runtime.gateway.pace = type(application.runtime.gateway.pace)(keepalive=0.05)
    upstream.script(MODEL, {"text": "Hi " + "x" * 40})
    configure("cachelayer")
    configure("streamcache", replay_speed=20)
    ask(MODEL)
    answer, _ = timed(ask)
    assert text_of(answer) == "Hi " + "x" * 40
    assert answer.text.count("\n: ") + answer.text.startswith(": ") >= 2


@ONE
def test_other_wires_are_replayed_too(configure: Configure, upstream: Upstream, client: Client) -> None:
    """In their own events, one for each word."""
    upstream.script(MODEL, {"text": "One two three"})
    configure("cachelayer")
    configure("streamcache", replay_speed=500)
    body = {"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
    client.user.post("/v1/messages", json=body)
    told = client.user.post("/v1/messages", json=body | {"stream": True})
    assert told.headers["x-stockyard-cache"] == "HIT"
    assert [word in told.text for word in ('"One"', '" two"', '" three"', "event: message_stop")] == [True] * 4


@pytest.mark.parametrize("text", [TEXT, "", " ", "word", "a b", "\n\na", "a\n"])
def test_the_pieces_of_an_answer_are_the_answer(text: str) -> None:
    """Its role and its tools come first, its end last; a legacy completion is no different."""
    message = {"role": "assistant", "content": text, "tool_calls": [{"id": "c", "type": "function"}]}
    chat = {"object": "chat.completion", "choices": [{"index": 1, "message": message, "finish_reason": "stop"}]}
    told = [piece["choices"][0] for chunk in unfolded(chat) for piece in pieces(chunk)]
    assert "".join(choice["delta"].get("content", "") for choice in told) == text
    assert [choice["finish_reason"] for choice in told] == [*[None] * (len(told) - 1), "stop"]
    assert (told[0]["delta"]["role"], told[0]["delta"]["tool_calls"][0]["id"]) == ("assistant", "c")
    assert all("role" not in choice["delta"] and choice["index"] == 1 for choice in told[1:])
    legacy = {"object": "text_completion", "choices": [{"index": 0, "text": text, "finish_reason": "length"}]}
    parts = [piece["choices"][0] for chunk in unfolded(legacy) for piece in pieces(chunk)]
    assert "".join(part["text"] for part in parts) == text
    assert [part["finish_reason"] for part in parts] == [*[None] * (len(parts) - 1), "length"]
