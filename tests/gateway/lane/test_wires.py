"""The other wires take the same lane: one trace, one price, every module, and each client's own way to hear no."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from app.gateway.sse import Parser
from gateway.upstream import Upstream
from support.callers import Client
from support.envelopes import Refusals

Json = dict[str, Any]
Traces = Callable[..., list[Json]]
MODEL = "gpt-4o-mini"
TEXT = "The train on track four is due at noon."
TURN = [{"role": "user", "content": "hello"}]
PATHS = {"messages": "/v1/messages", "responses": "/v1/responses", "chat": "/v1/chat/completions"}
BOTH = pytest.mark.parametrize("wire", ["messages", "responses"])


def asking(wire: str, model: str = MODEL, **fields: Any) -> Json:
    """The same question on any wire."""
    least = {"messages": {"max_tokens": 100, "messages": TURN}, "responses": {"input": "hello"}, "chat": {}}[wire]
    return {"model": model, **({"messages": TURN} if wire == "chat" else least), **fields}


def heard(response: Any) -> list[tuple[str, Json]]:
    """The events of a stream."""
    return [(name, json.loads(data)) for name, data in Parser().feed(response.content)]


def words(made: Json) -> str:
    """The text of an answer on either wire."""
    parts = made.get("content") or made["output"][0]["content"]
    return str(parts[0]["text"])


@BOTH
def test_every_wire_costs_and_is_traced_alike(client: Client, traces: Traces, wire: str) -> None:
    """Plain or streamed: whoever changes wires pays what chat costs, and finds the call where chat's are."""
    chat = client.user.post(PATHS["chat"], json=asking("chat", max_completion_tokens=100))
    plain = client.user.post(PATHS[wire], json=asking(wire))
    streamed = client.user.post(PATHS[wire], json=asking(wire, stream=True))
    assert words(plain.json()) == TEXT
    first, second, third = traces(3)
    for name in ("cost_nano", "tokens_in", "tokens_out", "usage_source", "status", "provider", "model", "operation"):
        assert first[name] == second[name] == third[name], name
    assert first["cost_nano"] > 0
    assert plain.headers["x-stockyard-cost"] == chat.headers["x-stockyard-cost"]
    assert json.loads(second["response"]) == plain.json()
    assert words(json.loads(third["response"])) == TEXT
    assert (heard(streamed)[0][0], heard(streamed)[-1][0]) == {
        "messages": ("message_start", "message_stop"),
        "responses": ("response.created", "response.completed"),
    }[wire]


@BOTH
@pytest.mark.parametrize("first", [False, True], ids=["plain first", "stream first"])
def test_answers_are_kept_and_replayed_on_their_own_wire(
    client: Client, upstream: Upstream, configure: Callable[..., None], wire: str, first: bool
) -> None:
    """Never in another's shape, though the question in chat is the same; what the answer repeats is the asker's own."""
    configure("cachelayer", ttl="1m")
    upstream.script(MODEL, {"tools": 2})
    client.user.post(PATHS["chat"], json=asking("chat", max_completion_tokens=100))
    made = [
        client.user.post(PATHS[wire], json=asking(wire, stream=s, metadata={"n": str(s)})) for s in (first, not first)
    ]
    assert [one.headers["x-stockyard-cache"] for one in made] == ["MISS", "HIT"]
    plain, streamed = (made[1], made[0]) if first else made
    whole, last = plain.json(), heard(streamed)
    if wire == "responses":
        final = last[-1][1]["response"]
        assert [item["arguments"] for item in final["output"]] == [item["arguments"] for item in whole["output"]]
        assert (whole["metadata"], final["metadata"]) == ({"n": "False"}, {"n": "True"})
    else:
        calls = [data["content_block"]["id"] for name, data in last if name == "content_block_start"]
        assert calls == [block["id"] for block in whole["content"]] == ["call_0", "call_1"]
    assert whole["usage"]["output_tokens"] == 10


@BOTH
@pytest.mark.parametrize("then", ["close", "reset", "error"])
def test_a_stream_that_breaks_ends_in_the_clients_own_error(
    client: Client, upstream: Upstream, traces: Traces, wire: str, then: str
) -> None:
    """After the first byte there is no status left to tell it by."""
    upstream.script(MODEL, {"frames": 3, "pause": 0.02, "then": then})
    response = client.user.post(PATHS[wire], json=asking(wire, stream=True))
    name, last = heard(response)[-1]
    assert name == last["type"] == "error"
    assert "openai" in last["error"]["message"]
    (trace,) = traces(1)
    assert (trace["status"], trace["http_status"]) == ("error", 502)
    if wire == "messages":
        assert last["request_id"] == response.headers["request-id"] == trace["request_id"]


@BOTH
def test_an_alias_a_standin_and_a_refusal_are_everybodys(
    client: Client, upstream: Upstream, traces: Traces, configure: Callable[..., None], wire: str
) -> None:
    """The modules of the lane do not know which wire they serve."""
    configure("retrypilot", base_delay="1ms")
    configure("failover", models={MODEL: {"groq": "llama-3.1-8b-instant"}})
    upstream.script(MODEL, {"status": 500})
    response = client.user.post(PATHS[wire], json=asking(wire))
    assert (response.headers["x-stockyard-provider"], words(response.json())) == ("groq", TEXT)
    assert traces(1)[0]["attempts"] == 4


REFUSALS: list[Any] = [
    ({"headers": {"authorization": "Bearer sy_" + "x" * 43}}, 401, "authentication_error"),
    ({"headers": {"authorization": ""}}, 401, "authentication_error"),
    ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "invalid_request_error"),
    ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "invalid_request_error"),
    ({"json": {"model": MODEL}}, 400, "invalid_request_error"),
    ({"content": b" " * 33_554_433, "headers": {"content-type": "application/json"}}, 413, "request_too_large"),
]


@pytest.mark.parametrize(("options", "status", "kind"), REFUSALS)
def test_refusals_before_the_lane_are_said_in_anthropics_words(
    client: Client, refused: Refusals, options: Json, status: int, kind: str
) -> None:
    """By the gate, long before any handler: its clients choose their class of error by them."""
    response = client.user.post(PATHS["messages"], **options)
    assert refused(response, status)["error"]["type"] == kind
    assert response.headers["request-id"] == response.headers["x-request-id"]


def test_paths_below_and_beside_keep_their_dialects(client: Client, refused: Refusals) -> None:
    """Nothing there: said to Anthropic's clients below their path, to OpenAI's beside it."""
    below = refused(client.user.post("/v1/messages/count_tokens", json={}), 404)
    assert below["error"]["type"] == "not_found_error"
    beside = refused(client.user.post("/v1/nothing", json={}), 404, "not_found")
    assert beside["error"]["type"] == "invalid_request_error"


STATUSES: list[Any] = [
    ({"status": 404, "error": {"message": "no such model"}}, 404, "not_found_error"),
    ({"status": 400, "error": {"message": "too long"}}, 400, "invalid_request_error"),
    ({"status": 429, "headers": {"retry-after": "77"}}, 429, "rate_limit_error"),
    ({"status": 500}, 502, "api_error"),
    ({"hang": True}, 504, "timeout_error"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("does", "status", "kind"), STATUSES)
def test_a_providers_refusal_is_said_in_anthropics_words(  # noqa: PLR0913, PLR0917 (a table's columns)
    client: Client,
    upstream: Upstream,
    refused: Refusals,
    traces: Traces,
    does: Json,
    status: int,
    kind: str,
    stream: bool,
) -> None:
    """With the trace it left."""
    upstream.script("gpt-x", does)
    response = client.user.post(PATHS["messages"], json=asking("messages", "gpt-x", stream=stream))
    assert refused(response, status)["error"]["type"] == kind
    assert response.headers["x-stockyard-trace-id"] == traces(1)[0]["id"]


@pytest.mark.settings(rate_limits="on")
def test_too_many_calls_are_refused_on_every_wire(
    client: Client, refused: Refusals, configure: Callable[..., None]
) -> None:
    """The rate shield counts them together."""
    configure("rateshield", rpm=1, burst=1)
    assert client.user.post(PATHS["chat"], json=asking("chat")).status_code == 200
    said = refused(client.user.post(PATHS["messages"], json=asking("messages")), 429)
    assert said["error"]["type"] == "rate_limit_error"
    refused(client.user.post(PATHS["responses"], json=asking("responses")), 429, "rate_limited")


@pytest.mark.parametrize("name", ["previous_response_id", "conversation", "prompt"])
def test_what_would_need_a_kept_response_is_refused_by_name(client: Client, refused: Refusals, name: str) -> None:
    """Nothing is kept here: an answer that forgot the conversation would be worse than none."""
    response = client.user.post(PATHS["responses"], json=asking("responses", **{name: "x_1"}))
    told = refused(response, 400)["error"]
    assert (told["param"], "not offered here" in told["message"]) == (name, True)


def test_nothing_runs_in_the_background_and_nothing_is_stored(client: Client, refused: Refusals) -> None:
    """The answer tells so, whatever was asked."""
    told = refused(client.user.post(PATHS["responses"], json=asking("responses", background=True)), 400)
    assert told["error"]["param"] == "background"
    made = client.user.post(PATHS["responses"], json=asking("responses", store=True, background=False)).json()
    assert (made["store"], made["background"], made["previous_response_id"]) == (False, False, None)


def test_what_no_provider_can_be_asked_is_refused_by_name(
    client: Client, refused: Refusals, upstream: Upstream, traces: Traces
) -> None:
    """Well formed, and still impossible: 422, before the provider hears of it."""
    tools = [{"type": "web_search_20250305", "name": "web_search"}]
    said = refused(client.user.post(PATHS["messages"], json=asking("messages", tools=tools)), 422)
    assert "web_search_20250305" in said["error"]["message"]
    told = refused(client.user.post(PATHS["responses"], json=asking("responses", tools=[{"type": "mcp"}])), 422)
    assert told["error"]["param"] == "tools[0]"
    assert upstream.seen(MODEL) == []
    assert len(traces(1)) == 1


def test_anthropics_clients_bring_keys_their_own_way(client: Client, upstream: Upstream) -> None:
    """Ours in `x-api-key`, also beside another bearer; a provider's own goes to that provider, and only there."""
    body = asking("messages")
    key = client.user.headers["authorization"].removeprefix("Bearer ")
    nobody = client.anonymous
    assert nobody.post(PATHS["messages"], json=body, headers={"x-api-key": key}).status_code == 200
    both = {"x-api-key": key, "authorization": "Bearer sk-ant-other"}
    assert nobody.post(PATHS["messages"], json=body, headers=both).status_code == 200
    own = {"x-api-key": "sk-proj-0123456789abcdefghijABCDEFGHIJ"}
    assert nobody.post(PATHS["messages"], json=body, headers=own).status_code == 200
    keys = [seen["headers"]["authorization"] for seen in upstream.seen(MODEL)]
    assert keys == ["Bearer sk-openai-canary"] * 2 + [f"Bearer {own['x-api-key']}"]
    assert nobody.post(PATHS["responses"], json=asking("responses"), headers=own).status_code == 401
    assert nobody.post(PATHS["messages"], json=body, headers={"x-api-key": "whatever"}).status_code == 401
