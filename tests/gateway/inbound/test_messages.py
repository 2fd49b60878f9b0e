"""Anthropic's wire in front of Anthropic: what was asked and what was answered arrive as they were."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.gateway.accumulate import accumulate
from app.gateway.inbound.messages import Messages
from app.gateway.providers import PROVIDERS
from app.gateway.sse import Parser, event
from app.gateway.wire import Kind, Target

Json = dict[str, Any]
WIRE = PROVIDERS["anthropic"].wire
TARGET = Target(PROVIDERS["anthropic"], "http://127.0.0.1:1", "claude-x", "key")
BLOCKS: list[Json] = [
    {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "eA=="},
    {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "Bern"}},
    {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [{"type": "web_search_result", "url": "u"}]},
    {"type": "text", "text": "It rains", "citations": [{"type": "char_location", "cited_text": "rain"}]},
    {"type": "text", "text": " in Bern."},
    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bern"}, "caller": {"type": "direct"}},
]
USAGE: Json = {"input_tokens": 7, "cache_read_input_tokens": 5, "output_tokens": 9, "service_tier": "standard"}
ANSWER: Json = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": BLOCKS,
    "stop_reason": "pause_turn",
    "stop_sequence": None,
    "usage": USAGE | {"cache_creation_input_tokens": 0, "server_tool_use": {"web_search_requests": 1}},
}
json_values = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4), st.lists, max_leaves=3)
texts = st.text(min_size=1, max_size=9)
blocks = st.lists(st.sampled_from(BLOCKS) | texts.map(lambda text: {"type": "text", "text": text}), min_size=1)
requests = st.fixed_dictionaries(
    {
        "model": st.just("claude-x"),
        "max_tokens": st.integers(1, 99),
        "messages": st.lists(
            st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": texts | blocks}),
            min_size=1,
            max_size=4,
        ),
    },
    optional={
        "system": texts | st.lists(texts.map(lambda text: {"type": "text", "text": text, "cache_control": {}})),
        "top_k": st.integers(0, 9),
        "thinking": st.just({"type": "adaptive", "display": "summarized"}),
        "context_management": json_values,
        "something_new": json_values,
        "tools": st.just(
            [{"type": "web_search_20250305", "name": "web_search"}, {"name": "weather", "input_schema": {}}]
        ),
    },
)


def call(asked: Json | None = None, betas: str = "") -> Messages:
    """One call on Anthropic's wire."""
    least = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    return Messages(asked or least, {"anthropic-beta": betas}, "req_1")


@given(requests)
def test_anthropic_gets_what_was_asked(asked: Json) -> None:
    """Every field and block, known here or not; but never a host or a key of the caller's choosing."""
    one = call(asked | {"base_url": "http://localhost.example"}, betas="a, b")
    sent = one.wire(WIRE).outgoing(Kind.CHAT, one.body, TARGET)
    assert json.loads(sent.body) == asked
    assert (sent.headers["anthropic-beta"], sent.headers["x-api-key"]) == ("a,b", "key")


def test_a_word_changed_on_the_way_reaches_anthropic_changed() -> None:
    """What a module redacts stays redacted: the original is not sent behind its back."""
    one = call({"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "my secret"}]})
    body = one.body | {"messages": [{"role": "user", "content": "my [redacted]"}]}
    sent = one.wire(WIRE).outgoing(Kind.CHAT, body, TARGET).body
    assert b"redacted" in sent
    assert b"secret" not in sent


def test_thinking_nobody_signed_is_not_shown_to_anthropic() -> None:
    """Another provider's reasoning, sent back by a client: Anthropic would refuse the whole request for it."""
    unsigned = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [unsigned, BLOCKS[5]]}]
    one = call({"model": "claude-x", "max_tokens": 9, "messages": turns})
    sent = json.loads(one.wire(WIRE).outgoing(Kind.CHAT, one.body, TARGET).body)
    assert sent["messages"][1]["content"] == [BLOCKS[5]]


def test_the_answer_is_anthropics_own() -> None:
    """Block by block, with its counts and its own reason."""
    one = call()
    answer = one.wire(WIRE).answer(Kind.CHAT, json.dumps(ANSWER).encode(), "claude-x")
    assert json.loads(one.plain(answer.body, answer.usage)) == ANSWER


def test_an_answer_changed_on_the_way_is_shown_changed() -> None:
    """A guardrail on the answer has the last word, over Anthropic's own blocks too."""
    one = call()
    answer = one.wire(WIRE).answer(Kind.CHAT, json.dumps(ANSWER).encode(), "claude-x")
    answer.body["choices"][0]["message"]["content"] = "It [redacted]"
    shown = json.loads(one.plain(answer.body, answer.usage))["content"]
    assert [block["text"] for block in shown if block["type"] == "text"] == ["It [redacted]"]


def stream() -> bytes:
    """The answer as Anthropic streams it."""
    empty = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}, "tool_use": {"input": {}}}
    start = ANSWER | {"content": [], "stop_reason": None}
    sent = event("message_start", {"type": "message_start", "message": start})
    for index, block in enumerate(BLOCKS):
        begun = {k: v for k, v in block.items() if k != "citations"} | empty.get(block["type"], {})
        sent += event("content_block_start", {"type": "content_block_start", "index": index, "content_block": begun})
        for delta in deltas(block):
            sent += event("content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta})
        sent += event("content_block_stop", {"type": "content_block_stop", "index": index})
    delta = {"stop_reason": "pause_turn", "stop_sequence": None}
    sent += event("message_delta", {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 9}})
    return sent + event("message_stop", {"type": "message_stop"})


def deltas(block: Json) -> list[Json]:
    """A block's deltas."""
    if block["type"] == "text":
        cited = [{"type": "citations_delta", "citation": one} for one in block.get("citations", ())]
        return [*cited, {"type": "text_delta", "text": block["text"]}]
    if block["type"] == "thinking":
        signature = {"type": "signature_delta", "signature": block["signature"]}
        return [{"type": "thinking_delta", "thinking": block["thinking"]}, signature]
    if block["type"] == "tool_use":
        return [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
    return []


def test_the_stream_adds_up_to_anthropics_own_answer_and_so_does_its_replay() -> None:
    """Every block in its place; what was put together for the cache and the trace is the same."""
    one = call()
    decoder, frames = one.wire(WIRE).decoder(Kind.CHAT, "claude-x"), one.frames()
    chunks = [*decoder.feed(stream()), *decoder.end()]
    assert decoder.usage is not None
    sent = frames.chunks(chunks, decoder.usage) + frames.end(decoder.usage)
    assert blocks_of(sent) == BLOCKS
    whole = accumulate(chunks, decoder.usage)
    assert json.loads(one.plain(whole, decoder.usage)) == ANSWER
    choice = whole["choices"][0]
    again, head = one.frames(), {k: whole[k] for k in ("id", "created", "model")}
    told = [{**choice, "delta": choice["message"], "finish_reason": None}, choice | {"delta": {}}]
    replay = again.chunks([{**head, "choices": [one]} for one in told], decoder.usage) + again.end(decoder.usage)
    assert blocks_of(replay) == BLOCKS


def blocks_of(sent: bytes) -> list[Json]:
    """The blocks that a stream's events add up to."""
    found: list[Json] = []
    for name, data in Parser().feed(sent):
        told = json.loads(data)
        if name == "content_block_start":
            found.append(dict(told["content_block"]))
        elif name == "content_block_delta":
            _grow(found[told["index"]], told["delta"])
    return found


def _grow(block: Json, delta: Json) -> None:
    if delta["type"] == "input_json_delta":
        block["input"] = json.loads(delta["partial_json"])
    elif delta["type"] == "citations_delta":
        block["citations"] = [*block.get("citations", ()), delta["citation"]]
    else:
        name = delta["type"].removesuffix("_delta")
        block[name] = block[name] + delta[name]
