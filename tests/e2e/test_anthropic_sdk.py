"""Anthropic's official Python SDK works unchanged, whichever provider answers: base URL and key, nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from gateway.upstream import Upstream
from support.servers import Server

MODEL, CLAUDE = "gpt-4o-mini", "claude-x"
TEXT = "The train on track four is due at noon."
ASKED: Any = [{"role": "user", "content": "When?"}]
WEATHER: Any = [{"name": "weather", "description": "Tells.", "input_schema": {"type": "object"}}]
PICTURE: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}
THINKING: Any = [
    {"type": "thinking", "thinking": "Trains.", "signature": "c2ln"},
    {"type": "text", "text": "At noon."},
]
USAGE = {"input_tokens": 7, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 5, "output_tokens": 9}


@pytest.fixture
def client(yard: Server, upstream: Upstream) -> Iterator[anthropic.Anthropic]:
    """The official client; no retries of its own."""
    with anthropic.Anthropic(base_url=yard.base_url, api_key=yard.user_key, max_retries=0) as made:
        yield made


def ask(client: anthropic.Anthropic, **fields: Any) -> Any:
    """A message."""
    return client.messages.create(**{"model": MODEL, "max_tokens": 100, "messages": ASKED} | fields)


def test_a_plain_answer(client: anthropic.Anthropic, upstream: Upstream) -> None:
    """The words, the reason, the counts, the request's id; what was asked arrives in the provider's words."""
    content = [{"type": "text", "text": "When?"}, PICTURE]
    turn, more = ASKED[0] | {"content": content}, {"temperature": 0.5}
    made = ask(client, system="Be brief.", stop_sequences=["END"], messages=[turn], extra_body=more)
    assert (made.content[0].text, made.stop_reason, made.role, made.type) == (TEXT, "end_turn", "assistant", "message")
    assert (made.usage.input_tokens, made.usage.output_tokens) == (20, 10)
    assert made._request_id
    sent = upstream.seen(MODEL)[0]["body"]
    assert (sent["stop"], sent["temperature"], sent["max_completion_tokens"]) == (["END"], 0.5, 100)
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert sent["messages"][1]["content"][1]["image_url"]["url"] == "data:image/png;base64,QUJD"


def test_a_streamed_answer(client: anthropic.Anthropic) -> None:
    """The SDK's helper: words as they come, and the message they add up to."""
    with client.messages.stream(model=MODEL, max_tokens=100, messages=ASKED) as stream:
        text = "".join(stream.text_stream)
        made = stream.get_final_message()
    assert text == made.content[0].text == TEXT  # type: ignore[union-attr]
    assert (made.stop_reason, made.usage.input_tokens, made.usage.output_tokens) == ("end_turn", 20, 10)


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_called_and_answered(client: anthropic.Anthropic, upstream: Upstream, stream: bool) -> None:
    """Two calls at once; their results go back, the choice of tool goes along."""
    upstream.script(MODEL, {"tools": 2}, {})
    asked: Any = {"model": MODEL, "max_tokens": 100, "tools": WEATHER, "tool_choice": {"type": "any"}}
    if stream:
        with client.messages.stream(**asked, messages=ASKED) as events:
            first = events.get_final_message()
    else:
        first = client.messages.create(**asked, messages=ASKED)
    assert [(b.type, b.input) for b in first.content] == [("tool_use", {"city": "Bern"})] * 2  # type: ignore[union-attr]
    assert first.stop_reason == "tool_use"
    results = [{"type": "tool_result", "tool_use_id": b.id, "content": "rain"} for b in first.content]  # type: ignore[union-attr]
    turns: Any = [*ASKED, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    assert ask(client, tools=WEATHER, messages=turns).content[0].text == TEXT
    called, answered = (seen["body"] for seen in upstream.seen(MODEL))
    assert (called["tool_choice"], called["tools"][0]["function"]["name"]) == ("required", "weather")
    assert [said.get("tool_call_id") for said in answered["messages"][-2:]] == ["call_0", "call_1"]


def test_anthropic_behind_anthropic_loses_nothing(client: anthropic.Anthropic, upstream: Upstream) -> None:
    """Thinking with its signature, cached tokens, cache breakpoints, betas: as if nobody stood between."""
    whole = {"id": "msg_1", "type": "message", "role": "assistant", "model": CLAUDE, "stop_reason": "end_turn"}
    upstream.script(CLAUDE, {"raw": json.dumps(whole | {"content": THINKING, "stop_sequence": None, "usage": USAGE})})
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    asked = {
        "model": CLAUDE,
        "system": system,
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "max_tokens": 4096,
    }
    made = ask(client, **asked, extra_headers={"anthropic-beta": "some-beta"})
    assert made.id == "msg_1"
    assert [block.to_dict() for block in made.content] == THINKING
    assert USAGE.items() <= made.usage.to_dict().items()
    seen = upstream.seen(CLAUDE)[0]
    assert seen["body"] == asked | {"messages": ASKED}
    assert (seen["headers"]["anthropic-beta"], seen["headers"]["x-api-key"]) == ("some-beta", "sk-anthropic-canary")


def test_a_thinking_stream_of_anthropics_arrives_with_its_signature(
    client: anthropic.Anthropic, upstream: Upstream
) -> None:
    """And its counts, those known at the start and those known at the end."""
    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": CLAUDE, "content": [], "usage": USAGE}
    said: list[Any] = [{"type": "message_start", "message": start | {"stop_reason": None, "stop_sequence": None}}]
    empty = ({"type": "thinking", "thinking": "", "signature": ""}, {"type": "text", "text": ""})
    words = (
        [{"type": "thinking_delta", "thinking": "Trains."}, {"type": "signature_delta", "signature": "c2ln"}],
        [{"type": "text_delta", "text": "At noon."}],
    )
    for index, (block, deltas) in enumerate(zip(empty, words, strict=True)):
        said.append({"type": "content_block_start", "index": index, "content_block": block})
        said += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        said.append({"type": "content_block_stop", "index": index})
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    said += [{"type": "message_delta", "delta": ended, "usage": {"output_tokens": 9}}, {"type": "message_stop"}]
    pieces = [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in said]
    upstream.script(CLAUDE, {"pieces": pieces, "pause": 0.01})
    with client.messages.stream(model=CLAUDE, max_tokens=100, messages=ASKED) as stream:
        made = stream.get_final_message()
    assert [block.to_dict() for block in made.content] == THINKING
    assert USAGE.items() <= made.usage.to_dict().items()


def test_each_refusal_is_the_sdks_own_class(client: anthropic.Anthropic, upstream: Upstream) -> None:
    """A bad key, a model nobody knows, a field of the wrong kind, too many calls: with a request id each."""
    with pytest.raises(anthropic.AuthenticationError) as caught:
        ask(client.with_options(api_key="sy_" + "x" * 43))
    assert (caught.value.type, caught.value.request_id is not None) == ("authentication_error", True)
    upstream.script("gpt-none", {"status": 404, "error": {"message": "no such model", "code": "model_not_found"}})
    with pytest.raises(anthropic.NotFoundError, match="no such model"):
        ask(client, model="gpt-none")
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        ask(client, max_tokens=0)
    upstream.script("gpt-busy", {"status": 429, "headers": {"retry-after": "77"}})
    with pytest.raises(anthropic.RateLimitError) as busy:
        ask(client, model="gpt-busy")
    assert busy.value.response.headers["retry-after"] == "77"


def test_a_stream_that_breaks_raises(client: anthropic.Anthropic, upstream: Upstream) -> None:
    """Half an answer must not look like a whole one."""
    upstream.script(MODEL, {"frames": 3, "pause": 0.05, "then": "reset"})
    heard: list[Any] = []
    with pytest.raises(anthropic.APIStatusError, match="openai"):
        heard.extend(ask(client, stream=True))
    assert [event.type for event in heard[:2]] == ["message_start", "content_block_start"]


def test_a_cancelled_stream_leaves_one_trace(yard: Server, client: anthropic.Anthropic, upstream: Upstream) -> None:
    """And the provider is let go."""
    upstream.script("gpt-long", {"pause": 0.3})
    stream = ask(client, model="gpt-long", stream=True)
    next(iter(stream))
    stream.close()
    assert upstream.ended("gpt-long")["end"] == "cut"
    (trace,) = traces(yard, "gpt-long")
    assert (trace["status"], trace["stream"]) == ("error", True)


def traces(yard: Server, model: str) -> list[Any]:
    """The traces of a model, once there are any."""
    for _ in range(100):
        found = yard.request("GET", f"/api/observe/traces?model={model}", yard.admin_key).json()["traces"]
        if found:
            break
        time.sleep(0.05)
    return list(found)


async def test_the_asynchronous_client(yard: Server, upstream: Upstream) -> None:
    """Plain and streamed."""
    async with anthropic.AsyncAnthropic(base_url=yard.base_url, api_key=yard.user_key) as client:
        made = await client.messages.create(model=MODEL, max_tokens=100, messages=ASKED)
        async with client.messages.stream(model=MODEL, max_tokens=100, messages=ASKED) as stream:
            text = "".join([piece async for piece in stream.text_stream])
    assert made.content[0].text == text == TEXT  # type: ignore[union-attr]
