"""The Anthropic wire where its fixtures do not reach: refusals before sending, odd requests, odd streams."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.accumulate import accumulate
from app.gateway.providers.anthropic import PROVIDER
from app.gateway.wire import BadAnswerError, Kind, Outgoing, Target, Usage

WIRE = PROVIDER.wire
KEY = "sk-ant-api03-never-shown-anywhere"
FUNCTION = {"name": "look", "parameters": {"type": "object", "properties": {}}}


def request(model: str = "claude-sonnet-4-6", kind: Kind = Kind.CHAT, **body: Any) -> Outgoing:
    """The request for a body; a lone user message unless it says otherwise."""
    body = {"messages": [{"role": "user", "content": "hi"}]} | body
    return WIRE.outgoing(kind, body, Target(PROVIDER, "https://anthropic.test/", model, KEY))


def sent(model: str = "claude-sonnet-4-6", **body: Any) -> dict[str, Any]:
    """The body that goes out."""
    return orjson.loads(request(model, **body).body)


def events(*said: dict[str, Any]) -> bytes:
    """A stream of these events after a message_start."""
    start = {"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 3}}}
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in (start, *said))


STOP = {"type": "message_stop"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"n": 2}, "n must be 1"),
        ({"temperature": 1.5}, "between 0 and 1"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"modalities": ["text", "audio"]}, "text only"),
        ({"response_format": {"type": "json_object"}}, "json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "needs a schema"),
        ({"service_tier": "flex"}, "service tiers"),
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "function tools"),
        ({"tools": [{"type": "function"}]}, "OpenAI's shape"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "system", "content": "only"}]}, "not a system message"),
        ({"messages": [{"role": "function", "content": "x", "name": "f"}]}, "no role function"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input_audio"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "ftp://x"}]}]}, "http"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "share an id"),
    ],
)
def test_what_anthropic_cannot_do_is_refused_before_sending(body: dict[str, Any], reason: str) -> None:
    """A field dropped in silence gives an answer to another question than the one asked."""
    with pytest.raises(ValueError, match=reason):
        request(**body)


def test_asking_for_nothing_is_not_refused() -> None:
    """Clients send every field with its neutral value; that asks Anthropic for nothing it lacks."""
    neutral = {"n": 1, "logprobs": False, "logit_bias": {}, "presence_penalty": 0, "seed": 7, "store": True}
    assert sent(**neutral) == sent()


def test_embeddings_are_refused() -> None:
    """Anthropic has none; a chat answer would be nonsense."""
    with pytest.raises(ValueError, match="no embeddings"):
        request(kind=Kind.EMBEDDINGS, input="x")


def test_the_key_is_in_its_header_and_nowhere_else() -> None:
    """URLs and bodies are logged; a repr ends up in tracebacks."""
    made = request(user="u", stream=True)
    assert made.headers["x-api-key"] == KEY
    assert KEY not in made.url
    assert KEY.encode() not in made.body
    assert KEY not in repr(made)


def test_betas_travel_in_the_header() -> None:
    """Anthropic reads them nowhere else."""
    made = request(betas=["context-1m-2025-08-07", "files-api-2025-04-14"])
    assert made.headers["anthropic-beta"] == "context-1m-2025-08-07,files-api-2025-04-14"
    assert b"betas" not in made.body


@pytest.mark.parametrize(
    ("choice", "parallel", "wanted"),
    [
        (None, None, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("none", False, {"type": "none"}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        ({"type": "function", "function": {"name": "look"}}, None, {"type": "tool", "name": "look"}),
    ],
)
def test_a_tool_choice_keeps_its_meaning(choice: Any, parallel: bool | None, wanted: Any) -> None:
    """An agent that forces or forbids a tool relies on it."""
    tools = [{"type": "function", "function": FUNCTION}]
    assert sent(tools=tools, tool_choice=choice, parallel_tool_calls=parallel).get("tool_choice") == wanted


@pytest.mark.parametrize(
    ("model", "body", "wanted"),
    [
        ("claude-sonnet-4-5-20250929", {}, ({"type": "enabled", "budget_tokens": 8192}, 12288)),
        ("claude-3-7-sonnet-latest", {"max_tokens": 5000}, ({"type": "enabled", "budget_tokens": 2500}, 5000)),
        ("claude-opus-4-20250514", {"max_tokens": 1100}, ({"type": "enabled", "budget_tokens": 1024}, 1100)),
        ("claude-sonnet-4-6", {}, ({"type": "adaptive"}, 4096)),
        ("claude-opus-5", {}, ({"type": "adaptive"}, 4096)),
    ],
)
def test_effort_becomes_what_the_model_understands(model: str, body: dict[str, Any], wanted: Any) -> None:
    """Old models refuse adaptive thinking, new ones a budget; a budget must stay under the token limit."""
    made = sent(model, reasoning_effort="medium", **body)
    assert (made["thinking"], made["max_tokens"]) == wanted
    assert made.get("output_config", {}).get("effort") == ("medium" if wanted[0]["type"] == "adaptive" else None)


def test_a_tool_loop_without_its_thinking_goes_on_without_more() -> None:
    """OpenAI's clients keep no thinking blocks; Anthropic would refuse the whole conversation."""
    call = {"id": "c.1:0", "type": "function", "function": {"name": "look", "arguments": ""}}
    loop = [
        {"role": "user", "content": "look"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c.1:0", "content": ""},
    ]
    assert "thinking" not in sent("claude-sonnet-4-5", reasoning_effort="low", messages=loop)
    loop[1]["thinking_blocks"] = [{"type": "thinking", "thinking": "hm", "signature": "s"}]
    kept = sent("claude-sonnet-4-5", reasoning_effort="low", messages=loop)
    assert kept["thinking"]["type"] == "enabled"
    assert kept["messages"][1]["content"][0] == {"type": "thinking", "thinking": "hm", "signature": "s"}
    assert kept["messages"][1]["content"][1]["id"] == kept["messages"][2]["content"][0]["tool_use_id"] == "c_1_0"


def test_a_caller_who_knows_anthropic_is_understood() -> None:
    """Native blocks, tools and fields pass untouched; a thinking budget gets room for the answer."""
    document = {"type": "document", "source": {"type": "url", "url": "https://x.test/a.pdf"}}
    search = {"type": "web_search_20250305", "name": "web_search"}
    made = sent(
        messages=[{"role": "user", "content": [document, {"type": "text", "text": ""}]}],
        tools=[search],
        thinking={"type": "enabled", "budget_tokens": 9000},
        top_k=5,
    )
    assert made["messages"] == [{"role": "user", "content": [document]}]
    assert made["tools"] == [search]
    assert (made["max_tokens"], made["top_k"]) == (13096, 5)


def test_the_callers_body_is_left_as_it_was() -> None:
    """Failover sends the same body to the next provider."""
    body = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "user", "content": "b"}]
    }
    before = json.dumps(body)
    request(**body)
    assert json.dumps(body) == before


def test_counts_are_brought_up_to_date_by_the_last_delta() -> None:
    """message_start knows one output token; server tools add input tokens later: both would be billed wrong."""
    decoder = WIRE.decoder(Kind.CHAT, "claude")
    list(
        decoder.feed(events({"type": "message_delta", "delta": {}, "usage": {"input_tokens": 900, "output_tokens": 7}}))
    )
    assert decoder.usage == Usage(input=900, output=7)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "content_block_delta", "index": 4, "delta": {"type": "text_delta", "text": "x"}},
        {"type": "content_block_start", "index": 0},
        {"type": "message_start", "message": None},
    ],
)
def test_a_stream_out_of_joint_is_no_answer(event: dict[str, Any]) -> None:
    """Whatever the provider sends, the caller gets an error the gateway knows, never a crash."""
    decoder = WIRE.decoder(Kind.CHAT, "claude")
    with pytest.raises(BadAnswerError):
        list(decoder.feed(events(event)))


def test_what_is_not_known_is_passed_over() -> None:
    """Anthropic adds events, blocks and deltas without notice; old clients are told to ignore them."""
    block = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    odd = {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {}}}
    decoder = WIRE.decoder(Kind.CHAT, "claude")
    begin = {"type": "content_block_start", "index": 0, "content_block": block}
    stop = {"type": "content_block_stop", "index": 0}
    chunks = [*decoder.feed(events({"type": "new_event"}, begin, odd, stop, STOP)), *decoder.end()]
    assert [choice["delta"] for chunk in chunks for choice in chunk["choices"]] == [
        {"role": "assistant", "content": None},
        {},
    ]


@given(text=st.text(), arguments=st.dictionaries(st.text(), st.integers(-9, 9) | st.text()))
def test_any_text_and_arguments_survive_the_stream(text: str, arguments: dict[str, Any]) -> None:
    """Quotes, emptiness and every alphabet arrive as they were said."""
    tool = {"type": "tool_use", "id": "t", "name": "look", "input": arguments}
    said = [{"type": "text", "text": text}, tool]
    starts = [{"type": "content_block_start", "index": at, "content_block": block} for at, block in enumerate(said)]
    stops = [{"type": "content_block_stop", "index": at} for at in (0, 1)]
    decoder = WIRE.decoder(Kind.CHAT, "claude")
    summed = accumulate([*decoder.feed(events(*starts, *stops, STOP)), *decoder.end()])
    raw = orjson.dumps({"id": "msg_1", "model": "claude", "content": said, "stop_reason": "end_turn"})
    assert summed["choices"] == WIRE.answer(Kind.CHAT, raw, "claude").body["choices"]


@given(raw=st.binary(max_size=80) | st.from_regex(rb'\{"content":\[.*\]\}', fullmatch=True))
def test_no_body_crashes_the_reader(raw: bytes) -> None:
    """Only BadAnswerError leads to a retry or another provider."""
    try:
        WIRE.answer(Kind.CHAT, raw, "claude")
    except BadAnswerError:
        return
    assert "content" in orjson.loads(raw)


def test_a_refusal_never_shows_a_key() -> None:
    """Providers quote the key they were given."""
    body = orjson.dumps({"error": {"type": "authentication_error", "message": f"invalid x-api-key {KEY}"}})
    refusal = WIRE.refusal(401, body)
    assert KEY not in refusal.message
    assert refusal.type == "authentication_error"


def test_an_answer_without_counts_is_marked_as_estimated() -> None:
    """A guess in the ledger must be told from a report."""
    raw = orjson.dumps({"content": [{"type": "text", "text": "eight ch"}]})
    assert WIRE.answer(Kind.CHAT, raw, "claude").usage == Usage(output=2, reported=False)
