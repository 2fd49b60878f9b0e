"""The last touch on a provider's answer: what the caller asked for that no wire knows."""

from __future__ import annotations

import struct
from dataclasses import replace

from app.gateway.chat_response import encoded
from app.gateway.exchange import Exchange
from app.gateway.settle import estimated
from app.gateway.usage import to_openai
from app.gateway.wire import Answer, BadAnswerError, Kind


def as_asked(exchange: Exchange, answer: Answer) -> Answer:
    """The answer with vectors in the asked encoding, and a usage even where the provider reported none.

    BadAnswerError when the vectors hold something that is no number.
    """
    if exchange.kind is Kind.EMBEDDINGS:
        answer = _in_encoding(answer, exchange.body.get("encoding_format"))
    if answer.usage.reported:
        return answer
    usage = estimated(exchange, answer.usage.output)
    return Answer({**answer.body, "usage": to_openai(usage, exchange.kind)}, usage)


def _in_encoding(answer: Answer, encoding: str | None) -> Answer:
    if encoding != "base64" or all(isinstance(row["embedding"], str) for row in answer.body["data"]):
        return answer
    try:
        return replace(answer, body=encoded(answer.body, encoding), raw=None)
    except (struct.error, TypeError, OverflowError) as error:
        raise BadAnswerError("the provider answered with vectors that hold no numbers") from error
