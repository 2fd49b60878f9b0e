"""OpenAI's official Python SDK on its newer wire: plain, streamed, with tools and forms, refused and broken."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from gateway.upstream import Upstream
from support.servers import Server

MODEL = "gpt-4o-mini"
TEXT = "The train on track four is due at noon."
WEATHER: Any = [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}]


class Train(BaseModel):
    """The form an answer is asked in."""

    track: int


def test_a_plain_response(client: openai.OpenAI, upstream: Upstream) -> None:
    """The words, the counts, and that nothing is kept."""
    made = client.responses.create(
        model=MODEL, input="When?", instructions="Be brief.", max_output_tokens=50, reasoning={"effort": "low"}
    )
    assert (made.output_text, made.status, made.object, made.store) == (TEXT, "completed", "response", False)
    assert made.usage is not None
    assert (made.usage.input_tokens, made.usage.output_tokens, made.usage.total_tokens) == (20, 10, 30)
    assert made._request_id
    sent = upstream.seen(MODEL)[0]["body"]
    assert (sent["max_completion_tokens"], sent["reasoning_effort"]) == (50, "low")
    assert [said["role"] for said in sent["messages"]] == ["system", "user"]


def test_a_streamed_response(client: openai.OpenAI) -> None:
    """The SDK's helper: events as they come, and the response they add up to."""
    with client.responses.stream(model=MODEL, input="When?") as stream:
        events = list(stream)
        made = stream.get_final_response()
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == made.output_text == TEXT
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    assert made.usage is not None
    assert made.usage.total_tokens == 30


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_called_and_answered(client: openai.OpenAI, upstream: Upstream, stream: bool) -> None:
    """Two calls at once; the items go back as the SDK gave them."""
    upstream.script(MODEL, {"tools": 2}, {})
    if stream:
        with client.responses.stream(model=MODEL, input="When?", tools=WEATHER) as events:
            first: Any = events.get_final_response()
    else:
        first = client.responses.create(model=MODEL, input="When?", tools=WEATHER)
    assert [json.loads(item.arguments) for item in first.output] == [{"city": "Bern"}] * 2
    results = [{"type": "function_call_output", "call_id": item.call_id, "output": "rain"} for item in first.output]
    turns: Any = [{"role": "user", "content": "When?"}, *first.output, *results]
    assert client.responses.create(model=MODEL, input=turns, tools=WEATHER).output_text == TEXT
    sent = upstream.seen(MODEL)[1]["body"]["messages"]
    assert [said["role"] for said in sent] == ["user", "assistant", "tool", "tool"]


def test_an_answer_in_a_form(client: openai.OpenAI, upstream: Upstream) -> None:
    """The SDK asks by a class and reads the answer into it."""
    upstream.script(MODEL, {"text": '{"track": 4}'})
    made = client.responses.parse(model=MODEL, input="Where?", text_format=Train)
    assert made.output_parsed == Train(track=4)
    asked = upstream.seen(MODEL)[0]["body"]["response_format"]
    assert (asked["type"], asked["json_schema"]["name"], asked["json_schema"]["strict"]) == (
        "json_schema",
        "Train",
        True,
    )


def test_each_refusal_is_the_sdks_own_class(client: openai.OpenAI, upstream: Upstream) -> None:
    """A bad key, a model nobody knows, a response nobody kept."""
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sy_" + "x" * 43).responses.create(model=MODEL, input="When?")
    upstream.script("gpt-none", {"status": 404, "error": {"message": "no such model", "code": "model_not_found"}})
    with pytest.raises(openai.NotFoundError, match="no such model") as unknown:
        client.responses.create(model="gpt-none", input="When?")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="not offered here") as caught:
        client.responses.create(model=MODEL, input="When?", previous_response_id="resp_1")
    assert caught.value.param == "previous_response_id"


def test_a_stream_that_breaks_raises(client: openai.OpenAI, upstream: Upstream) -> None:
    """After it has said that the response failed."""
    upstream.script(MODEL, {"frames": 3, "pause": 0.05, "then": "reset"})
    heard: list[Any] = []
    with pytest.raises(openai.APIError, match="openai"):
        heard.extend(client.responses.create(model=MODEL, input="When?", stream=True))
    assert [event.type for event in heard][-1] == "response.failed"


async def test_the_asynchronous_client(yard: Server, upstream: Upstream) -> None:
    """Plain and streamed."""
    async with openai.AsyncOpenAI(base_url=f"{yard.base_url}/v1", api_key=yard.user_key) as client:
        made = await client.responses.create(model=MODEL, input="When?")
        async with client.responses.stream(model=MODEL, input="When?") as stream:
            final = await stream.get_final_response()
    assert made.output_text == final.output_text == TEXT
