"""The Gemini wire: OpenAI's shapes in and out of `/v1beta/models/{model}`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import orjson

from app.gateway.chat_request import asked
from app.gateway.completions import TextDecoder, chat_body, text_answer
from app.gateway.providers.gemini.answer import completion, embeddings
from app.gateway.providers.gemini.request import embed_body, generate_body
from app.gateway.providers.gemini.stream import GeminiDecoder
from app.gateway.providers.openai import errors
from app.gateway.providers.openai.wire import headers
from app.gateway.wire import Answer, Kind, Outgoing

if TYPE_CHECKING:
    from app.gateway.wire import Decoder, Json, Refusal, Target


class GeminiWire:
    """Chat, embeddings, and legacy completions by way of chat. The key travels in a header, never in the URL."""

    def outgoing(self, kind: Kind, body: Json, target: Target) -> Outgoing:
        """The request; ValueError when the body asks for what Gemini cannot do."""
        model = target.model.removeprefix("models/")
        with asked():
            if kind is Kind.EMBEDDINGS:
                return _post(target, model, "batchEmbedContents", embed_body(body, model))
            chat = chat_body(body) if kind is Kind.COMPLETIONS else body
            method = "streamGenerateContent?alt=sse" if chat.get("stream") else "generateContent"
            return _post(target, model, method, generate_body(chat, model))

    def answer(self, kind: Kind, raw: bytes, model: str) -> Answer:
        """The response as an answer of the asked kind."""
        if kind is Kind.EMBEDDINGS:
            return embeddings(raw, model)
        chat = completion(raw, model)
        return Answer(text_answer(chat.body), chat.usage) if kind is Kind.COMPLETIONS else chat

    def decoder(self, kind: Kind, model: str) -> Decoder:
        """A fresh decoder for one stream."""
        chat = GeminiDecoder(model)
        return TextDecoder(chat) if kind is Kind.COMPLETIONS else chat

    def refusal(self, status: int, raw: bytes) -> Refusal:
        """The reason; its type is Google's status name, its code the machine's reason."""
        found = errors.refusal(status, raw)
        error = _error(raw)
        return replace(found, type=error.get("status"), code=_reason(error)) if error else found


def _post(target: Target, model: str, method: str, body: Json) -> Outgoing:
    url = f"{target.base_url.rstrip('/')}/v1beta/models/{quote(model, safe='')}:{method}"
    stream = method.startswith("stream")
    return Outgoing(url, headers(target.provider, target.key, stream), orjson.dumps(body))


def _error(raw: bytes) -> Json | None:
    """The `error` object of a refusal; a stream's comes wrapped in a list of one."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    first = body[0] if isinstance(body, list) and body else body
    error = first.get("error") if isinstance(first, dict) else None
    return error if isinstance(error, dict) else None


def _reason(error: Json) -> str | None:
    """The machine's reason (such as API_KEY_INVALID) in google.rpc.ErrorInfo, when there is one."""
    reasons = [
        detail["reason"] for detail in error.get("details") or [] if isinstance(detail, dict) and "reason" in detail
    ]
    return reasons[0] if reasons else None
