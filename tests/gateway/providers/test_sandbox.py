"""The sandbox answers as a provider would, the same every time, and breaks exactly as told."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import struct
import time
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.gateway.accumulate import accumulate
from app.gateway.providers import PROVIDERS
from app.gateway.providers.sandbox.answers import answer
from app.gateway.providers.sandbox.script import Fault, Script, parse
from app.gateway.wire import Answer, BadAnswerError, Kind, Target, UpstreamResponse, Usage

SANDBOX = PROVIDERS["sandbox"]
WIRE = SANDBOX.wire
ASK = [{"role": "user", "content": "What is the weather in Paris?"}]
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}, "unit": {"enum": ["C", "F"]}},
    "required": ["city"],
}


def chat(model: str = "gpt-4o", **fields: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": model, "messages": ASK, **fields}


def tool(name: str, parameters: Any = WEATHER) -> dict[str, Any]:
    """A function offered to the model."""
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


async def posted(body: dict[str, Any], kind: Kind = Kind.CHAT) -> UpstreamResponse:
    """The response to a request, through the wire and the transport as the lane goes."""
    assert SANDBOX.transport is not None
    return await SANDBOX.transport(WIRE.outgoing(kind, body, Target(SANDBOX, SANDBOX.base_url, body["model"])))


def answered(body: dict[str, Any], kind: Kind = Kind.CHAT) -> Answer:
    """The whole answer."""

    async def ask() -> bytes:
        response = await posted(body, kind)
        assert response.status == 200
        return await response.read()

    return WIRE.answer(kind, asyncio.run(ask()), body["model"])


def streamed(body: dict[str, Any], kind: Kind = Kind.CHAT) -> tuple[list[dict[str, Any]], Usage | None]:
    """The chunks of the stream, and its usage."""

    async def ask() -> tuple[list[dict[str, Any]], Usage | None]:
        response = await posted(body | {"stream": True}, kind)
        decoder = WIRE.decoder(kind, body["model"])
        chunks = [chunk async for data in response.chunks() for chunk in decoder.feed(data)]
        return [*chunks, *decoder.end()], decoder.usage

    return asyncio.run(ask())


def message(body: dict[str, Any]) -> dict[str, Any]:
    """The first choice's message."""
    found: dict[str, Any] = answered(body).body["choices"][0]["message"]
    return found


REQUESTS = st.fixed_dictionaries(
    {"model": st.just("gpt-4o"), "messages": st.just(ASK)},
    optional={
        "n": st.integers(1, 3),
        "max_tokens": st.integers(1, 40),
        "stop": st.sampled_from(["sandbox", ["no ", "x"], "zzz"]),
        "tools": st.lists(st.sampled_from([tool("weather"), tool("clock", {}), tool("any", True)]), max_size=3),
        "tool_choice": st.sampled_from(["auto", "none", "required"]),
        "parallel_tool_calls": st.booleans(),
        "response_format": st.sampled_from(
            [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "w", "schema": WEATHER}}]
        ),
    },
)


@settings(deadline=None)
@given(REQUESTS)
def test_a_stream_adds_up_to_the_plain_answer(body: dict[str, Any]) -> None:
    """The gateway's promise for every provider, provable at home; the limit holds and the answer repeats."""
    answer = answered(body)
    chunks, usage = streamed(body)
    assert usage == answer.usage
    assert accumulate(chunks, usage) == answer.body == answered(body).body
    assert answer.usage.tokens_out <= body.get("max_tokens", 10_000) * body.get("n", 1)
    assert answer.raw is not None


def test_the_answer_says_what_was_received() -> None:
    """A person trying the first command sees that it arrived."""
    content = message(chat())["content"]
    assert "gpt-4o" in content
    assert "What is the weather in Paris?" in content
    assert answered(chat()).usage.reported


def test_max_tokens_cuts_and_says_so() -> None:
    """Clients tell a cut answer by its finish reason."""
    answer = answered(chat(max_tokens=3))
    assert answer.body["choices"][0]["finish_reason"] == "length"
    assert answer.usage.output == 3


def test_stop_ends_the_text_before_it() -> None:
    """The sequence itself is left out."""
    answer = answered(chat(stop=["never", " no provider"]))
    assert answer.body["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": "This is the sandbox,", "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
    }


def test_every_choice_asked_for_is_given() -> None:
    """And told from the others."""
    choices = answered(chat(n=3)).body["choices"]
    assert [one["index"] for one in choices] == [0, 1, 2]
    assert len({one["message"]["content"] for one in choices}) == 3


@pytest.mark.parametrize(
    ("fields", "called"),
    [
        ({}, ["weather", "clock"]),
        ({"parallel_tool_calls": False}, ["weather"]),
        ({"tool_choice": "none"}, []),
        ({"tool_choice": {"type": "function", "function": {"name": "clock"}}}, ["clock"]),
        ({"messages": [*ASK, {"role": "tool", "tool_call_id": "x", "content": "sunny"}]}, []),
    ],
)
def test_tools_are_called_as_the_choice_says(fields: dict[str, Any], called: list[str]) -> None:
    """An agent's loop can be tried to its end: calls first, text once the results are in."""
    answer = message(chat(tools=[tool("weather"), tool("clock")]) | fields)
    calls = answer.get("tool_calls", [])
    assert [call["function"]["name"] for call in calls] == called
    assert (answer["content"] is None) == bool(called)
    assert len({call["id"] for call in calls}) == len(calls)
    for call in calls:
        assert jsonschema_rs.is_valid(WEATHER, json.loads(call["function"]["arguments"]))


SCHEMAS: list[dict[str, Any]] = [
    WEATHER,
    {
        "type": "array",
        "items": {"$ref": "#/$defs/d"},
        "minItems": 2,
        "$defs": {"d": {"type": "string", "format": "date"}},
    },
    {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["next"]},
    {"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"type": "number"}}, "required": ["b"]}]},
    {"type": "string", "pattern": "^[A-Z]{3}-\\d{4}$"},
    {"type": "string", "minLength": 30, "maxLength": 31},
    {"type": "integer", "exclusiveMinimum": 7, "multipleOf": 7},
    {"type": "number", "minimum": 0.1, "exclusiveMaximum": 0.2},
    {"type": ["null", "boolean"]},
    {"type": "array", "uniqueItems": True, "minItems": 3, "items": {"type": "string"}},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"enum": ["x"]}], "items": False},
    {"type": "object", "required": ["k"], "additionalProperties": {"type": "integer"}},
    {"oneOf": [{"type": "null"}, {"type": "object", "properties": {"k": {"type": "string", "format": "uuid"}}}]},
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_structured_output_is_valid_for_its_schema(schema: dict[str, Any]) -> None:
    """An application's parser is tried against JSON it would get."""
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert jsonschema_rs.is_valid(schema, json.loads(message(chat(response_format=wanted))["content"]))


def test_json_mode_gives_an_object() -> None:
    """Without a schema, any object will do."""
    assert isinstance(json.loads(message(chat(response_format={"type": "json_object"}))["content"]), dict)


@pytest.mark.parametrize(
    ("kind", "fields", "param"),
    [
        (Kind.CHAT, {"messages": []}, "messages"),
        (Kind.CHAT, {"n": 1000}, "n"),
        (Kind.CHAT, {"max_tokens": 0}, "max_tokens"),
        (Kind.CHAT, {"tools": [tool("a")], "tool_choice": {"function": {"name": "b"}}}, "tool_choice"),
        *(
            (
                Kind.CHAT,
                {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}},
                "response_format",
            )
            for schema in (
                False,
                {"$ref": "https://example.com/x"},
                {"type": "string", "pattern": "^(a+)+b{77}$"},
                {"properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "required": ["a", "b"]},
                {"type": "number", "multipleOf": 0},
                {"properties": 7, "required": 8},
            )
        ),
        (Kind.COMPLETIONS, {"prompt": {}}, "prompt"),
        (Kind.EMBEDDINGS, {"input": ""}, "input"),
        (Kind.EMBEDDINGS, {"input": "a", "dimensions": 10**9}, "dimensions"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(kind: Kind, fields: dict[str, Any], param: str) -> None:
    """Quickly, and as OpenAI would: no schema may hang or fill the process."""

    async def ask() -> tuple[int, bytes]:
        response = await posted(chat(**fields), kind)
        return response.status, await response.read()

    status, raw = asyncio.run(ask())
    refusal = WIRE.refusal(status, raw)
    assert (status, refusal.param, refusal.type) == (400, param, "invalid_request_error")


@pytest.mark.parametrize("prompt", ["one", ["one", "two"], [1, 2, 3], [[1], [2]]])
def test_legacy_prompts_of_every_form_are_answered(prompt: Any) -> None:
    """A choice for each prompt, streamed alike."""
    body = {"model": "m", "prompt": prompt, "echo": True}
    answer = answered(body, Kind.COMPLETIONS)
    chunks, usage = streamed(body, Kind.COMPLETIONS)
    assert accumulate(chunks, usage) == answer.body
    assert len(answer.body["choices"]) == (2 if prompt in (["one", "two"], [[1], [2]]) else 1)


def vectors(**fields: Any) -> list[Any]:
    """The embeddings for an input."""
    return [row["embedding"] for row in answered({"model": "m", **fields}, Kind.EMBEDDINGS).body["data"]]


@settings(deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=4), st.integers(1, 64))
def test_embeddings_are_unit_vectors_in_order(texts: list[str], dimensions: int) -> None:
    """One for each input, of the length asked for, the same in both encodings."""
    plain = vectors(input=texts, dimensions=dimensions)
    packed = vectors(input=texts, dimensions=dimensions, encoding_format="base64")
    assert [len(one) for one in plain] == [dimensions] * len(texts)
    for floats, text in zip(plain, packed, strict=True):
        assert math.isclose(math.fsum(value * value for value in floats), 1.0)
        assert struct.unpack(f"<{dimensions}f", base64.b64decode(text)) == pytest.approx(floats, abs=1e-6)
    assert vectors(input=texts[0], dimensions=dimensions) == plain[:1]


def test_texts_that_share_words_lie_near_each_other() -> None:
    """A semantic cache can be tried without a provider."""
    cat, feline, tax = vectors(input=["the cat sat on the mat", "the cat lay on the mat", "income tax is due in May"])

    def nearness(one: list[float], other: list[float]) -> float:
        return math.fsum(a * b for a, b in zip(one, other, strict=True))

    assert nearness(cat, feline) > 0.5
    assert nearness(cat, tax) < 0.3


def test_token_ids_are_embedded_and_counted() -> None:
    """One id is one token, also one written as 4888.0, which JSON Schema counts among the integers."""
    answer = answered({"model": "m", "input": [[1, 2, 3], [4]]}, Kind.EMBEDDINGS)
    assert (len(answer.body["data"]), answer.usage) == (2, Usage(input=4))
    answer = answered({"model": "m", "input": [4888.0, 16]}, Kind.EMBEDDINGS)
    assert (len(answer.body["data"]), answer.usage) == (1, Usage(input=2))


@pytest.mark.parametrize(
    ("model", "script"),
    [
        ("gpt-4o", Script()),
        ("gpt-4o-fail-503", Script()),
        ("sandbox", Script()),
        ("sandbox-failing-html5-slow", Script()),
        ("sandbox-slow-250ms", Script(first_byte=0.25)),
        ("sandbox-drip-20ms-slow-1ms", Script(first_byte=0.001, drip=0.02)),
        ("sandbox-slow-999999ms", Script(first_byte=60.0)),
        ("sandbox-fail-429", Script(status=429)),
        ("sandbox-fail-200", Script()),
        ("sandbox-html-fail-502", Script(status=502, faults=frozenset({Fault.HTML}))),
        ("sandbox-truncate-no-usage", Script(faults=frozenset({Fault.TRUNCATE, Fault.NO_USAGE}))),
        ("sandbox-error-frame-empty-reset", Script(faults=frozenset({Fault.ERROR_FRAME, Fault.EMPTY, Fault.RESET}))),
    ],
)
def test_the_models_name_is_the_script(model: str, script: Script) -> None:
    """Parts in any order; other providers' names mean nothing here."""
    assert parse(model) == script


@pytest.mark.parametrize(
    ("model", "whole", "stream"),
    [
        ("sandbox-html", "HTML error page", "no answer"),
        ("sandbox-truncate", "cut short", "no JSON"),
        ("sandbox-empty", "without choices", "no answer"),
        ("sandbox-error-frame", "sandbox failed", "sandbox failed"),
    ],
)
def test_faults_reach_the_real_decoder(model: str, whole: str, stream: str) -> None:
    """They come as bytes, so that what is tried is what runs."""
    with pytest.raises(BadAnswerError, match=whole):
        answered(chat(model))
    with pytest.raises(BadAnswerError, match=stream):
        streamed(chat(model))


@pytest.mark.parametrize(("model", "status"), [("sandbox-fail-503", 503), ("sandbox-html-fail-502", 502)])
def test_statuses_come_with_a_reason(model: str, status: int) -> None:
    """In the envelope, or as the page a proxy in between would send."""
    response = asyncio.run(posted(chat(model)))
    refusal = WIRE.refusal(status, asyncio.run(response.read()))
    assert response.status == status
    assert refusal.message in {"The sandbox failed as the model's name asks.", "HTML error page: 502 Sandbox"}


def test_too_many_requests_say_when_to_come_back() -> None:
    """Retries rest on the header."""
    assert asyncio.run(posted(chat("sandbox-fail-429"))).headers["retry-after"] == "1"


@pytest.mark.parametrize("stream", [False, True])
def test_a_reset_breaks_the_connection(stream: bool) -> None:
    """As the network would: an OSError, after half the answer."""

    async def ask() -> bytes:
        return await (await posted(chat("sandbox-reset", stream=stream))).read()

    with pytest.raises(ConnectionResetError):
        asyncio.run(ask())


def test_usage_can_be_withheld() -> None:
    """The gateway must then estimate, and say so."""
    assert not answered(chat("sandbox-no-usage")).usage.reported
    assert streamed(chat("sandbox-no-usage"))[1] is None


def test_delays_are_kept() -> None:
    """The first byte waits, then each piece does."""
    started = time.monotonic()
    chunks, _ = streamed(chat("sandbox-slow-60ms-drip-5ms", max_tokens=6))
    assert time.monotonic() - started >= 0.06 + 0.005 * len(chunks)


async def test_a_closed_response_gives_nothing_more() -> None:
    """Cancelling a caller must stop the work upstream."""
    response = await posted(chat(stream=True))
    pieces = [piece async for piece in response.chunks() if not await response.close()]  # type: ignore[func-returns-value]
    assert len(pieces) == 1
    await response.close()


async def test_a_long_wait_between_pieces_is_told() -> None:
    """As of a real provider: the lane's comments for quiet streams can be tried without one."""
    response = await posted(chat("sandbox-drip-30ms", max_tokens=2, stream=True))
    pieces = [piece async for piece in response.chunks(0.012)]
    assert pieces[:2] == [b"", b""]
    assert pieces[2].startswith(b"data: ")


def test_a_whole_number_may_be_written_with_a_point() -> None:
    """JSON has one kind of number: 5.0 is five tokens, as the document's validator says."""
    body = {"model": "sandbox", "messages": [{"role": "user", "content": "Hello"}]}
    floated, whole = (answer(Kind.CHAT, body | {"max_tokens": most})["choices"] for most in (5.0, 5))
    assert floated == whole
