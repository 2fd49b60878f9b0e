"""Answers no provider gave: what a module says itself, in OpenAI's shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.gateway.chat_response import Head, fresh_id, message
from app.gateway.completions import text_answer
from app.gateway.usage import estimate_input, estimate_tokens, to_openai
from app.gateway.wire import Answer, Kind, Usage
from app.problems import Problem

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange


def make(exchange: Exchange, text: str, who: str) -> None:
    """Answer the call with this text; it costs nothing, and its trace names the module as its provider.

    Problem 400 for embeddings, which no text can answer.
    """
    if exchange.kind is Kind.EMBEDDINGS:
        raise Problem(400, f"{who} answers with text, and embeddings are none", details={"reason": who})
    usage = Usage(input=estimate_input(exchange.body), output=estimate_tokens(text), reported=False)
    choice = {"index": 0, "message": message(text, []), "logprobs": None, "finish_reason": "stop"}
    body = Head(fresh_id(), exchange.model).answer([choice], usage).body
    if exchange.kind is Kind.COMPLETIONS:
        body = text_answer(body)
    exchange.provider, exchange.made = who, Answer(body | {"usage": to_openai(usage)}, usage)
