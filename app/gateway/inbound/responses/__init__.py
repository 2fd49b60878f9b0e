"""OpenAI's Responses as clients speak them: one call, said in chat, and its answer said back. Nothing is kept of it."""

from __future__ import annotations

from time import time
from uuid import uuid4

import orjson

from app.gateway.inbound.responses.answer import Told, response
from app.gateway.inbound.responses.request import chat_of, without_thinking
from app.gateway.inbound.responses.stream import ResponseFrames
from app.gateway.inbound.rewriting import RewritingWire
from app.gateway.providers.anthropic.wire import AnthropicWire
from app.gateway.wire import Json, Usage, Wire


class Responses:
    """One call of `POST /v1/responses`; ValueError when its body is not OpenAI's or asks for what is kept elsewhere."""

    name = "responses"

    def __init__(self, asked: Json) -> None:
        self._told = Told(asked, uuid4().hex, int(time()))
        self.body = chat_of(asked)

    def wire(self, wire: Wire) -> Wire:
        """Signed thinking is Anthropic's; nobody else takes it back."""
        if isinstance(wire, AnthropicWire) or not any("thinking_blocks" in said for said in self.body["messages"]):
            return wire
        return RewritingWire(wire, without_thinking)

    def plain(self, whole: Json, usage: Usage) -> bytes:
        """The answer as a response."""
        return orjson.dumps(response(self._told, whole, usage))

    def frames(self) -> ResponseFrames:
        """The answer as the events of a response."""
        return ResponseFrames(self._told)
