"""The vendors' own SDKs as judges: our fixtures are their format, our answers are what their clients read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from anthropic.types import ContentBlockParam, Message, RawMessageStreamEvent, ToolParam
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

from app.gateway.accumulate import accumulate
from app.gateway.providers import PROVIDERS
from app.gateway.sse import Parser
from app.gateway.wire import Kind
from tests.gateway.conformance import calls
from tests.gateway.conformance.capabilities import case, rows_of

if TYPE_CHECKING:
    from tests.gateway.conformance.capabilities import Case

_REQUEST = TypeAdapter[Any](MessageCreateParamsNonStreaming)
_BLOCK = TypeAdapter[Any](ContentBlockParam)
_TOOL = TypeAdapter[Any](ToolParam)
_READ = {Kind.CHAT: ChatCompletion, Kind.COMPLETIONS: Completion, Kind.EMBEDDINGS: CreateEmbeddingResponse}
_FOREIGN = [case(name, row) for name in ("anthropic", "gemini") for row in rows_of(name, PROVIDERS[name].kinds)]
_ANSWERS = [one for one in _FOREIGN if one.answer and {"choices", "vectors"} & set(one.expected)]
_OF_ANTHROPIC = [one for one in _ANSWERS if one.provider == "anthropic"]


@pytest.mark.parametrize("one", _ANSWERS, ids=str)
def test_openais_client_reads_our_answers(one: Case) -> None:
    """A field of the wrong type surfaces in the caller's code, far from here."""
    raw, _ = one.answer or (b"", "")
    body = PROVIDERS[one.provider].wire.answer(one.kind, raw, one.asked["model"]).body
    _READ[one.kind].model_validate(body, strict=True)


@pytest.mark.parametrize("one", [one for one in _ANSWERS if one.stream], ids=str)
def test_openais_client_reads_our_streams(one: Case) -> None:
    """Each chunk on its own, and what they add up to."""
    heard = calls.heard(one, [one.stream or b""])
    if one.kind is Kind.CHAT:
        for chunk in heard.chunks:
            ChatCompletionChunk.model_validate(chunk, strict=True)
    _READ[one.kind].model_validate(accumulate(heard.chunks, heard.usage), strict=True)


@pytest.mark.parametrize("one", _OF_ANTHROPIC, ids=str)
def test_our_requests_are_what_anthropic_documents(one: Case) -> None:
    """The SDK's own types of the request body, for every row."""
    body = json.loads(calls.outgoing(one, "http://127.0.0.1", stream=False).body)
    _REQUEST.validate_python(body)
    # pydantic leaves an Iterable unread, so what stands in one is handed over piece by piece.
    for message in body["messages"]:
        for block in message["content"]:
            _BLOCK.validate_python(block)
    for tool in body.get("tools", []):
        _TOOL.validate_python(tool)


@pytest.mark.parametrize("one", _OF_ANTHROPIC, ids=str)
def test_anthropic_fixtures_are_what_its_client_reads(one: Case) -> None:
    """Fixtures in a format nobody sends would prove nothing."""
    raw, _ = one.answer or (b"", "")
    Message.model_validate_json(raw)
    parser, event = Parser(), TypeAdapter[Any](RawMessageStreamEvent)
    for name, data in [*parser.feed(one.stream or b""), *parser.end()]:
        if name != "ping":
            event.validate_json(data)
