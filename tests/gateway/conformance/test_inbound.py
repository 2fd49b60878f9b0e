"""Every provider behind the other wires: what Anthropic's and OpenAI's own clients make of its answers and streams."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from app.gateway.inbound.messages import Messages
from app.gateway.inbound.messages.request import chat_of
from app.gateway.inbound.responses import Responses
from app.gateway.providers import PROVIDERS
from app.gateway.providers.anthropic.request import messages_body
from app.gateway.sse import Parser
from app.gateway.wire import BadAnswerError, Kind, UntranslatableError, Usage
from app.problems import Problem
from tests.gateway.conformance import calls
from tests.gateway.conformance.capabilities import case, rows_of
from tests.gateway.conformance.test_conformance import READ

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.gateway.inbound.presentation import Inbound
    from tests.gateway.conformance.capabilities import Case

Json = dict[str, Any]
_EVENT = TypeAdapter[Any](RawMessageStreamEvent)
_RESPONSE_EVENT = TypeAdapter[Any](ResponseStreamEvent)
CHATS = [one for one in READ if one.kind is Kind.CHAT and "choices" in one.expected]
STREAMED = [one for one in CHATS if one.stream]
BROKEN = [one for one in READ if one.kind is Kind.CHAT and "stream_error" in one.expected]
ANTHROPIC = [case("anthropic", row) for row in rows_of("anthropic", frozenset({Kind.CHAT}))]
WIRES = ("messages", "responses")


def inbound(wire: str, model: str = "m", **fields: Any) -> Inbound:
    """A call on a wire."""
    if wire == "messages":
        said = [{"role": "user", "content": "hello"}]
        return Messages({"model": model, "max_tokens": 10, "messages": said} | fields, {}, "req_1")
    return Responses({"model": model, "input": "hello"} | fields)


def answered(one: Case, call: Inbound) -> Json:
    """The provider's plain answer as the client reads it."""
    raw, _ = one.answer or (b"", "")
    answer = call.wire(PROVIDERS[one.provider].wire).answer(one.kind, raw, one.asked["model"])
    read: Json = json.loads(call.plain(answer.body, answer.usage))
    return read


def streamed(one: Case, call: Inbound, step: int = 97) -> list[tuple[str, Json]]:
    """The provider's stream as the client's events, the bytes cut every `step`."""
    decoder = call.wire(PROVIDERS[one.provider].wire).decoder(one.kind, one.asked["model"])
    frames, sent, data = call.frames(), b"", one.stream or b""
    try:
        for at in range(0, len(data), step):
            sent += frames.chunks(decoder.feed(data[at : at + step]), decoder.usage)
        sent += frames.chunks(decoder.end(), decoder.usage)
        sent += frames.end(decoder.usage or Usage())
    except BadAnswerError as error:
        sent += frames.error(Problem(502, str(error)))
    return [(name, json.loads(text)) for name, text in Parser().feed(sent)]


def summed_message(events: list[tuple[str, Json]]) -> Json:
    """What Anthropic's client makes of a stream."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for name, data in events:
        assert name == data["type"]
        event = _EVENT.validate_python(data)
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    return Message.model_validate(snapshot.to_dict()).to_dict()


def summed_response(events: list[tuple[str, Json]]) -> Json:
    """What OpenAI's client makes of a stream; events are numbered without a gap."""
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=omit, text_format=omit)
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    for name, data in events:
        assert name == data["type"]
        state.handle_event(_RESPONSE_EVENT.validate_python(data))
    last: Json = events[-1][1]["response"]
    return last


SUMS: Any = {"messages": summed_message, "responses": summed_response}


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("one", CHATS, ids=str)
def test_the_official_client_reads_the_answer(one: Case, wire: str) -> None:
    """Its own types, strictly; the words and the calls are those of the chat answer."""
    made = answered(one, inbound(wire))
    (Message if wire == "messages" else Response).model_validate(made, strict=True)
    (told, *_) = [choice["message"] for choice in one.expected["choices"]]
    refusal = told.get("refusal") or ""
    assert text_of(made) == (told.get("content") or "") + ("" if made.get("stop_details") else refusal)
    wanted = [(c["id"], json.loads(c["function"]["arguments"])) for c in told.get("tool_calls") or ()]
    assert list(calls_of(made)) == wanted


def text_of(made: Json) -> str:
    """All words for the user."""
    parts = made.get("content") or [part for item in made.get("output", ()) for part in item.get("content", ())]
    return "".join(part.get("text") or part.get("refusal") or "" for part in parts)


def calls_of(made: Json) -> Iterator[tuple[str, Json]]:
    """All calls, as their id and arguments."""
    yield from ((block["id"], block["input"]) for block in made.get("content", ()) if block["type"] == "tool_use")
    items = [item for item in made.get("output", ()) if item["type"] == "function_call"]
    yield from ((item["call_id"], json.loads(item["arguments"])) for item in items)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("one", STREAMED, ids=str)
def test_the_official_client_sums_the_stream_up_to_the_answer(one: Case, wire: str) -> None:
    """Word for word, counts and reasons included: only the spacing of a call's arguments may differ."""
    call = inbound(wire)
    assert spaced(SUMS[wire](streamed(one, call))) == spaced(answered(one, call))


def spaced(made: Json) -> Json:
    """The answer with the arguments of its calls read; what is null is as good as absent."""
    output = [
        item | {"arguments": json.loads(item["arguments"])} if "arguments" in item else item
        for item in made.get("output", ())
    ]
    kept = {name: value for name, value in made.items() if value is not None}
    return json.loads(json.dumps(kept | {"output": output}), object_hook=_told)


def _told(held: Json) -> Json:
    return {name: value for name, value in held.items() if value not in (None, [])}


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("one", BROKEN, ids=str)
def test_a_broken_stream_ends_in_the_clients_own_error(one: Case, wire: str) -> None:
    """Never in silence, and never as if it were whole."""
    events = streamed(one, inbound(wire))
    name, last = events[-1]
    assert name == "error"
    assert one.expected["stream_error"] in last["error"]["message"]
    assert {"message_stop", "response.completed"}.isdisjoint(name for name, _ in events)
    if wire == "responses":
        assert [e["response"]["status"] for n, e in events if n == "response.failed"] == ["failed"]


@pytest.mark.parametrize("one", [one for one in ANTHROPIC if one.answer and "choices" in one.expected], ids=str)
def test_between_anthropic_and_anthropic_nothing_is_lost(one: Case) -> None:
    """The message the client reads is the provider's: blocks, signatures, reasons, counts."""
    raw, _ = one.answer or (b"", "")
    made, own = answered(one, inbound("messages")), json.loads(raw)
    assert made["content"] == [block for block in own["content"] if block.get("text") != ""]
    for name in ("stop_reason", "stop_sequence"):
        assert made[name] == own.get(name)
    counted = {name: value for name, value in own["usage"].items() if value is not None}
    assert counted.items() <= made["usage"].items()


@pytest.mark.parametrize("one", [one for one in ANTHROPIC if one.sent], ids=str)
def test_an_anthropic_request_survives_its_chat_form(one: Case) -> None:
    """A module that changes a word sends the request through chat: everything else must still be there after it."""
    sent = (one.sent or {})["body"]
    assert messages_body(chat_of(sent, []), sent["model"]) == sent


# One request on each wire, and what both mean in chat.
PICTURE, SCHEMA = "data:image/png;base64,QUJD", {"type": "object", "properties": {"city": {"type": "string"}}}
CHAT: Json = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Where?"}, {"type": "image_url", "image_url": {"url": PICTURE}}],
        },
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {"id": f"call_{n}", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}
                for n in (1, 2)
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        {"role": "tool", "tool_call_id": "call_2", "content": ""},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What the tool call call_2 returned:"},
                {"type": "image_url", "image_url": {"url": PICTURE}},
            ],
        },
    ],
    "max_completion_tokens": 64,
    "temperature": 0.5,
    "tools": [{"type": "function", "function": {"name": "weather", "description": "Tells.", "parameters": SCHEMA}}],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "reasoning_effort": "high",
    "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
    "user": "ada",
    "stream": True,
}
_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}
_USES = [{"type": "tool_use", "id": f"call_{n}", "name": "weather", "input": {"city": "Bern"}} for n in (1, 2)]
MESSAGE: Json = {
    "model": "m",
    "max_tokens": 64,
    "temperature": 0.5,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Where?"}, _IMAGE]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
                {"type": "text", "text": "I look."},
                *_USES,
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "rain"},
                {"type": "tool_result", "tool_use_id": "call_2", "content": [_IMAGE]},
            ],
        },
    ],
    "tools": [{"name": "weather", "description": "Tells.", "input_schema": SCHEMA}],
    "tool_choice": {"type": "tool", "name": "weather"},
    "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}},
    "metadata": {"user_id": "ada"},
    "stream": True,
}
_SHOWN = {"type": "input_image", "image_url": PICTURE}
_CALLS = [
    {"type": "function_call", "call_id": f"call_{n}", "name": "weather", "arguments": '{"city":"Bern"}'} for n in (1, 2)
]
RESPONSE: Json = {
    "model": "m",
    "instructions": "Be brief.",
    "input": [
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "Where?"}, _SHOWN],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        *_CALLS,
        {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
        {
            "type": "function_call_output",
            "call_id": "call_2",
            "output": [_SHOWN],
        },
    ],
    "max_output_tokens": 64,
    "temperature": 0.5,
    "tools": [{"type": "function", "name": "weather", "description": "Tells.", "parameters": SCHEMA}],
    "tool_choice": {"type": "function", "name": "weather"},
    "reasoning": {"effort": "high", "summary": "auto"},
    "text": {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA}},
    "include": ["reasoning.encrypted_content"],
    "store": True,
    "user": "ada",
    "stream": True,
}
TALKERS = sorted(name for name, held in PROVIDERS.items() if Kind.CHAT in held.kinds)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("provider", TALKERS)
def test_every_provider_is_asked_on_every_wire_as_it_is_in_chat(provider: str, wire: str) -> None:
    """Words, pictures, calls and their results, tools, limits, effort and form: only Anthropic gets its own words."""
    call = inbound(wire, **(MESSAGE if wire == "messages" else RESPONSE))
    own, target = PROVIDERS[provider].wire, calls.target(case(provider, "text"), "http://127.0.0.1:1")
    sent = call.wire(own).outgoing(Kind.CHAT, call.body, target)
    if (provider, wire) == ("anthropic", "messages"):
        assert json.loads(sent.body) == MESSAGE | {"model": target.model}
    else:
        wanted = own.outgoing(Kind.CHAT, CHAT, target)
        assert json.loads(sent.body) == json.loads(wanted.body)
        assert (sent.url, sent.headers) == (wanted.url, wanted.headers)


def test_what_only_anthropic_has_is_refused_for_others() -> None:
    """In words that name it, before the provider is asked."""
    target = calls.target(case("openai", "text"), "http://127.0.0.1:1")
    for fields in (
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"mcp_servers": [{"type": "url", "url": "https://localhost.example", "name": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}]},
    ):
        call = inbound("messages", **fields)
        with pytest.raises(UntranslatableError, match="only Anthropic has"):
            call.wire(PROVIDERS["openai"].wire).outgoing(Kind.CHAT, call.body, target)
