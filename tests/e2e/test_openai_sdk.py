"""OpenAI's official Python SDK works unchanged: answers, streams, tools, errors, retries, headers."""

from __future__ import annotations

import json
import time
from typing import Any

import openai
import pytest
from openai.lib.streaming.chat import ContentDoneEvent

from gateway.upstream import Upstream
from support.servers import Server

MODEL = "gpt-4o-mini"
TEXT = "The train on track four is due at noon."
ASKED: Any = [{"role": "user", "content": "When?"}]
WEATHER: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def test_a_plain_answer(client: openai.OpenAI) -> None:
    """The first thing anybody tries."""
    made = client.chat.completions.create(model=MODEL, messages=ASKED)
    assert (made.choices[0].message.content, made.choices[0].finish_reason) == (TEXT, "stop")
    assert made.usage is not None
    assert (made.usage.total_tokens, made.object) == (30, "chat.completion")
    assert made._request_id


@pytest.mark.parametrize("usage", [False, True])
def test_a_streamed_answer(client: openai.OpenAI, usage: bool) -> None:
    """Chunks carry one id, the role first, a finish last, and the usage only when asked for."""
    options: Any = {"include_usage": True} if usage else openai.omit
    chunks = list(client.chat.completions.create(model=MODEL, messages=ASKED, stream=True, stream_options=options))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == TEXT
    assert len({(c.id, c.created, c.model) for c in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.usage.total_tokens for c in chunks if c.usage] == ([30] if usage else [])
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


@pytest.mark.parametrize("count", [1, 2])
def test_tools_are_called(client: openai.OpenAI, upstream: Upstream, count: int) -> None:
    """One call and parallel calls, arguments whole."""
    upstream.script(MODEL, {"tools": count})
    made = client.chat.completions.create(model=MODEL, messages=ASKED, tools=WEATHER, parallel_tool_calls=count > 1)
    calls = made.choices[0].message.tool_calls or []
    assert [(c.id, json.loads(c.function.arguments)) for c in calls] == [
        (f"call_{n}", {"city": "Bern"}) for n in range(count)
    ]
    assert upstream.seen(MODEL)[0]["body"]["tools"] == WEATHER


@pytest.mark.parametrize("count", [1, 2])
def test_tools_are_called_in_streams(client: openai.OpenAI, upstream: Upstream, count: int) -> None:
    """The SDK's own accumulator puts the pieces together."""
    upstream.script(MODEL, {"tools": count})
    with client.chat.completions.stream(model=MODEL, messages=ASKED, tools=WEATHER) as stream:
        stream.until_done()
        calls = stream.get_final_completion().choices[0].message.tool_calls or []
    assert [json.loads(c.function.arguments) for c in calls] == [{"city": "Bern"}] * count


def test_the_streaming_helper_accumulates_text(client: openai.OpenAI) -> None:
    """Events of the SDK's helper, its final text included."""
    with client.chat.completions.stream(model=MODEL, messages=ASKED) as stream:
        done = [event for event in stream if isinstance(event, ContentDoneEvent)]
    assert [event.content for event in done] == [TEXT]


@pytest.mark.parametrize("stream", [False, True])
def test_legacy_completions(client: openai.OpenAI, stream: bool) -> None:
    """Old code still runs."""
    made: Any = client.completions.create(model=MODEL, prompt="When?", stream=stream)
    text = "".join(c.choices[0].text for c in made if c.choices) if stream else made.choices[0].text
    assert text.strip() == TEXT


@pytest.mark.parametrize("encoding", [None, "float", "base64"])
def test_embeddings(client: openai.OpenAI, encoding: Any) -> None:
    """Without a choice the SDK asks for base64 and decodes it; the provider here only knows numbers."""
    made = client.embeddings.create(
        model="text-embedding-3-small", input=["a", "b"], encoding_format=encoding or openai.omit
    )
    vector = made.data[1].embedding
    assert vector == ("AAAAPwAAgL4AAAA+AACAPw==" if encoding == "base64" else [0.5, -0.25, 0.125, 1.0])
    assert (made.usage.prompt_tokens, [row.index for row in made.data]) == (8, [0, 1])


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    """Also one with a slash in its name, which the SDK writes as `%2F`."""
    listed = {model.id: model for model in client.models.list()}
    assert listed[MODEL].owned_by == "openai"
    slashed = next(name for name in listed if "/" in name)
    assert [client.models.retrieve(name).id for name in (MODEL, slashed)] == [MODEL, slashed]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no/such-model")


def test_a_bad_key_is_an_authentication_error(yard: Server, client: openai.OpenAI) -> None:
    """Each refusal is the SDK's own class."""
    with pytest.raises(openai.AuthenticationError) as caught:
        client.with_options(api_key="sy_" + "x" * 43).chat.completions.create(model=MODEL, messages=ASKED)
    assert (caught.value.code, caught.value.type, caught.value.status_code) == (
        "unauthorized",
        "authentication_error",
        401,
    )


def test_a_model_the_provider_does_not_know_is_not_found(client: openai.OpenAI, upstream: Upstream) -> None:
    """The provider's word, relayed."""
    upstream.script("gpt-none", {"status": 404, "error": {"message": "no such model", "code": "model_not_found"}})
    with pytest.raises(openai.NotFoundError, match="no such model") as caught:
        client.chat.completions.create(model="gpt-none", messages=ASKED)
    assert (caught.value.code, caught.value.request_id is not None) == ("model_not_found", True)


def test_too_long_a_context_keeps_its_code_and_parameter(client: openai.OpenAI, upstream: Upstream) -> None:
    """Agents cut their history when they see this code."""
    error = {
        "message": "too long",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
    upstream.script(MODEL, {"status": 400, "error": error})
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    assert caught.value.type == "invalid_request_error"


def test_our_own_validation_names_the_field(client: openai.OpenAI) -> None:
    """The SDK shows `param`."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=ASKED, temperature=9)
    assert caught.value.param == "temperature"


def test_a_rate_limit_tells_when_to_come_back(client: openai.OpenAI, upstream: Upstream) -> None:
    """A wait longer than ours is handed on."""
    upstream.script("gpt-busy", {"status": 429, "headers": {"retry-after": "77"}})
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="gpt-busy", messages=ASKED)
    assert caught.value.response.headers["retry-after"] == "77"


def test_a_failing_provider_is_an_internal_server_error_after_our_retries(
    client: openai.OpenAI, upstream: Upstream
) -> None:
    """502, the class the SDK has for it, when three attempts failed."""
    upstream.script("llama-3.1-8b-instant", {"status": 500})
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="llama-3.1-8b-instant", messages=ASKED)
    assert (caught.value.status_code, caught.value.code) == (502, "provider_error")
    assert len(upstream.seen("llama-3.1-8b-instant")) == 3


def test_the_sdk_retries_what_we_could_not_mend(client: openai.OpenAI, upstream: Upstream) -> None:
    """Its retry comes on top: a provider that recovers in between is no error."""
    upstream.script("gpt-flaky", {"close": True}, {})
    made = client.with_options(max_retries=1).chat.completions.create(model="gpt-flaky", messages=ASKED)
    assert made.choices[0].message.content == TEXT


def test_the_sdk_does_not_retry_what_we_say_is_pointless(client: openai.OpenAI, upstream: Upstream) -> None:
    """`x-should-retry: false` on a key the provider refused: no amount of asking makes it valid."""
    upstream.script("gpt-locked", {"status": 401})
    with pytest.raises(openai.InternalServerError) as caught:
        client.with_options(max_retries=3).chat.completions.create(model="gpt-locked", messages=ASKED)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(upstream.seen("gpt-locked")) == 1


def test_a_slow_provider_is_a_504_and_a_slow_gateway_a_timeout(client: openai.OpenAI, upstream: Upstream) -> None:
    """Two seconds is what this server gives the provider; half a second is what this client gives us."""
    upstream.script("gpt-slow", {"delay": 5})
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="gpt-slow", messages=ASKED)
    assert (caught.value.status_code, caught.value.code) == (504, "provider_timeout")
    began = time.monotonic()
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.5).chat.completions.create(model="gpt-slow", messages=ASKED)
    assert time.monotonic() - began < 2


def test_a_stream_that_breaks_raises(client: openai.OpenAI, upstream: Upstream) -> None:
    """Half an answer must not look like a whole one."""
    upstream.script(MODEL, {"frames": 3, "pause": 0.05, "then": "reset"})
    stream = client.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
    heard = []
    with pytest.raises(openai.APIError, match="openai"):
        heard += [chunk.choices[0].delta.content for chunk in stream]
    assert len(upstream.seen(MODEL)) == 1


def test_raw_responses_show_our_headers(client: openai.OpenAI) -> None:
    """Cost, tokens, provider, attempts and trace, for who looks."""
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=ASKED)
    told = {name.removeprefix("x-stockyard-"): v for name, v in raw.headers.items() if name.startswith("x-stockyard-")}
    assert (told["provider"], told["model"], told["tokens-in"], told["tokens-out"]) == ("openai", MODEL, "20", "10")
    assert (told["cost"], told["cost-cents"], told["attempts"], told["cache"]) == ("0.000009", "0.0009", "1", "MISS")
    assert told["trace-id"].startswith("tr_")
    assert raw.headers["x-request-id"] == raw.parse()._request_id


def test_streaming_responses_can_be_read_line_by_line(client: openai.OpenAI) -> None:
    """As the SDK's users do who forward streams."""
    with client.chat.completions.with_streaming_response.create(model=MODEL, messages=ASKED, stream=True) as response:
        lines = [line for line in response.iter_lines() if line]
    assert (lines[-1], response.headers["content-type"]) == ("data: [DONE]", "text/event-stream; charset=utf-8")
    assert response.headers["x-stockyard-provider"] == "openai"


async def test_the_asynchronous_client(yard: Server, upstream: Upstream) -> None:
    """Plain and streamed."""
    async with openai.AsyncOpenAI(base_url=f"{yard.base_url}/v1", api_key=yard.user_key) as client:
        made = await client.chat.completions.create(model=MODEL, messages=ASKED)
        stream = await client.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert made.choices[0].message.content == text == TEXT
