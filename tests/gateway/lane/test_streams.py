"""Streams against plain answers: the same text, the same cost, whatever the network cuts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from app.gateway.accumulate import accumulate
from gateway.lane.conftest import Ask, chat, events
from gateway.upstream import Upstream
from support.callers import Client
from support.envelopes import Refusals

Traces = Callable[..., list[dict[str, Any]]]
MODEL = "gpt-4o-mini"


@pytest.mark.parametrize("does", [{}, {"tools": 2}, {"usage": None}, {"text": "ünïcødé 🚂"}])
def test_a_stream_costs_and_says_what_a_plain_answer_does(
    ask: Ask, upstream: Upstream, traces: Traces, does: Any
) -> None:
    """One settlement path for both; a gateway that charged streams at 0 is why this test exists."""
    upstream.script(MODEL, does)
    plain = ask(MODEL).json()
    streamed = ask(MODEL, stream=True)
    first, second = traces(2)
    for name in ("cost_nano", "tokens_in", "tokens_out", "usage_source", "status", "provider", "model", "http_status"):
        assert first[name] == second[name], name
    assert first["cost_nano"] > 0
    assert (first["stream"], second["stream"]) == (0, 1)
    assert accumulate(events(streamed)[:-1])["choices"] == plain["choices"]
    assert json.loads(second["response"])["choices"] == plain["choices"]


def test_usage_is_told_only_to_who_asked(ask: Ask, upstream: Upstream) -> None:
    """We always ask the provider for it; clients that did not are confused by a chunk without choices."""
    silent = events(ask(MODEL, stream=True))[:-1]
    assert all(chunk["choices"] and "usage" not in chunk for chunk in silent)
    *chunks, last = events(ask(MODEL, stream=True, stream_options={"include_usage": True}))[:-1]
    assert all(chunk["usage"] is None and chunk["choices"] for chunk in chunks)
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 30)
    assert [seen["body"]["stream_options"] for seen in upstream.seen(MODEL)] == [{"include_usage": True}] * 2


def test_what_came_before_an_error_in_the_same_bytes_is_passed_on(ask: Ask, upstream: Upstream, traces: Traces) -> None:
    """One read may hold the last words and the error; the words were paid for."""
    frames = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("one", " two")]
    head = "".join(f"data: {json.dumps({'id': 'x', 'model': MODEL, 'created': 1, **f})}\n\n" for f in frames[:1])
    tail = head.replace("one", " two") + 'data: {"error": {"message": "over"}}\n\n'
    upstream.script(MODEL, {"pieces": [head, tail]})
    found = events(ask(MODEL, stream=True))
    assert [e["choices"][0]["delta"]["content"] for e in found[:2]] == ["one", " two"]
    assert (found[2]["error"]["code"], found[3]) == ("provider_error", "[DONE]")
    assert traces(1)[0]["tokens_out"] == 2


@pytest.mark.parametrize("kind", ["chat", "legacy"])
def test_an_answer_without_usage_is_estimated_for_the_caller_too(
    client: Client, upstream: Upstream, traces: Traces, kind: str
) -> None:
    """Zeros in an answer would tell a client that it was free."""
    upstream.script(MODEL, {"usage": None})
    path, body = (
        ("/v1/chat/completions", chat(MODEL))
        if kind == "chat"
        else ("/v1/completions", {"model": MODEL, "prompt": "hi"})
    )
    response = client.user.post(path, json=body)
    (trace,) = traces(1)
    usage = response.json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (trace["tokens_in"], trace["tokens_out"])
    assert (min(usage["prompt_tokens"], usage["completion_tokens"]) > 0, trace["usage_source"]) == (True, "estimated")


def test_embeddings_come_in_the_asked_encoding_with_a_usage(client: Client, upstream: Upstream, traces: Traces) -> None:
    """Official SDKs ask for base64 without being told to; many providers answer with numbers all the same."""
    upstream.script("text-embedding-3-small", {"usage": None}, {})
    body = {"model": "text-embedding-3-small", "input": ["one text", "another"], "encoding_format": "base64"}
    made = client.user.post("/v1/embeddings", json=body).json()
    assert [row["embedding"] for row in made["data"]] == ["AAAAPwAAgL4AAAA+AACAPw=="] * 2
    assert made["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    plain = client.user.post("/v1/embeddings", json=body | {"encoding_format": "float"}).json()
    assert plain["data"][0]["embedding"] == [0.5, -0.25, 0.125, 1.0]
    estimated, reported = traces(2)
    assert (estimated["usage_source"], estimated["tokens_in"], reported["tokens_in"]) == ("estimated", 4, 8)
    assert estimated["operation"] == "embedding"


def test_vectors_of_something_else_are_refused(client: Client, upstream: Upstream, refused: Refusals) -> None:
    """A provider's nonsense is its fault, and no crash of ours."""
    upstream.script("text-embedding-3-small", {"vector": ["a", "b"]})
    body = {"model": "text-embedding-3-small", "input": "x", "encoding_format": "base64"}
    refused(client.user.post("/v1/embeddings", json=body), 502, "provider_error")
