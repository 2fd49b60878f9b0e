"""Anthropic's Messages as clients speak them: one call, said in chat, and its answer said back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from uuid import uuid4

import orjson

from app.gateway.inbound.messages.answer import message
from app.gateway.inbound.messages.native import NativeWire
from app.gateway.inbound.messages.plainly import plainly
from app.gateway.inbound.messages.request import chat_of
from app.gateway.inbound.messages.stream import MessageFrames
from app.gateway.inbound.rewriting import RewritingWire
from app.gateway.providers.anthropic.wire import AnthropicWire
from app.gateway.wire import Json, Usage, Wire

BETA = "anthropic-beta"


class Messages:
    """One call of `POST /v1/messages`; ValueError when its body is not Anthropic's."""

    name = "messages"

    def __init__(self, asked: Json, headers: Mapping[str, str], request_id: str) -> None:
        self._asked = asked
        self._betas = [name for part in headers.get(BETA, "").split(",") if (name := part.strip())]
        self._request_id = request_id
        self._id = f"msg_{uuid4().hex}"
        self.body = chat_of(asked, self._betas)

    @cached_property
    def _stops(self) -> frozenset[str]:
        return frozenset(self._asked.get("stop_sequences") or ())

    def wire(self, wire: Wire) -> Wire:
        """Anthropic gets what was asked as it was asked; everybody else what OpenAI's chat can say of it."""
        if isinstance(wire, AnthropicWire):
            return NativeWire(self._asked, self._betas)
        return RewritingWire(wire, plainly)

    def plain(self, whole: Json, usage: Usage) -> bytes:
        """The answer as a message."""
        return orjson.dumps(message(whole, usage, self._id, self._stops))

    def frames(self) -> MessageFrames:
        """The answer as Anthropic's events."""
        return MessageFrames(self._id, self._stops, self._request_id)
