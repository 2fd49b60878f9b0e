"""The Anthropic wire: OpenAI's shapes in and out of `POST /v1/messages`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from app.gateway.chat_request import asked
from app.gateway.completions import TextDecoder, chat_body, text_answer
from app.gateway.providers.anthropic.answer import completion
from app.gateway.providers.anthropic.request import messages_body
from app.gateway.providers.anthropic.stream import AnthropicDecoder
from app.gateway.providers.openai import errors
from app.gateway.providers.openai.wire import headers
from app.gateway.wire import Answer, Kind, Outgoing

if TYPE_CHECKING:
    from app.gateway.wire import Decoder, Json, Refusal, Target

VERSION = "2023-06-01"


class AnthropicWire:
    """Chat, and legacy completions by way of chat; Anthropic has no embeddings."""

    def outgoing(self, kind: Kind, body: Json, target: Target) -> Outgoing:
        """The Messages request; ValueError when the body asks for what Anthropic cannot do.

        `betas`, a list of names as in Anthropic's own SDK, goes into the `anthropic-beta` header.
        """
        if kind is Kind.EMBEDDINGS:
            raise ValueError("anthropic has no embeddings")
        with asked():
            chat = chat_body(body) if kind is Kind.COMPLETIONS else body
            url = f"{target.base_url.rstrip('/')}/v1/messages"
            return Outgoing(url, request_headers(chat, target), orjson.dumps(messages_body(chat, target.model)))

    def answer(self, kind: Kind, raw: bytes, model: str) -> Answer:
        """The message as a completion of the asked kind."""
        chat = completion(raw, model)
        return Answer(text_answer(chat.body), chat.usage) if kind is Kind.COMPLETIONS else chat

    def decoder(self, kind: Kind, model: str) -> Decoder:
        """A fresh decoder for one stream."""
        chat = AnthropicDecoder(model)
        return TextDecoder(chat) if kind is Kind.COMPLETIONS else chat

    def refusal(self, status: int, raw: bytes) -> Refusal:
        """The reason, by the shape Anthropic shares with OpenAI: an object under `error`."""
        return errors.refusal(status, raw)


def request_headers(chat: Json, target: Target) -> dict[str, str]:
    """The headers of a request, with the `betas` of its body."""
    made = headers(target.provider, target.key, bool(chat.get("stream"))) | {"anthropic-version": VERSION}
    return made | ({"anthropic-beta": ",".join(chat["betas"])} if chat.get("betas") else {})
