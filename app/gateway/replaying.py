"""Replays: a whole answer as the stream it would have been, at once or at the pace a module says."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator
from typing import Final

from app.gateway import settle
from app.gateway.exchange import Exchange
from app.gateway.steps import Pacer
from app.gateway.streams import HEADERS, Pace
from app.gateway.wire import Json, Usage
from app.wire.replies import Reply

WORD: Final = re.compile(r"\s*\S+\s*\Z|\s*\S+|\s+")


def reply(body: Json, exchange: Exchange, usage: Usage, pace: Pace) -> Reply:
    """The answer as a stream; a kept one in its own time, where it is asked for again by no key."""
    head = [*HEADERS, *settle.identity(exchange), *exchange.headers]
    replay = exchange.chain.replay if exchange.chain and exchange.cached else None
    if replay and not exchange.call.arguments.get("idempotency_key"):
        return Reply(200, head, chunks=paced(body, exchange, usage, replay(exchange), pace))
    return Reply(200, head, replayed(body, exchange, usage))


def replayed(body: Json, exchange: Exchange, usage: Usage) -> bytes:
    """All of it: one delta per choice, then its end."""
    frames = exchange.frames()
    return frames.chunks(unfolded(body), usage) + frames.end(usage)


async def paced(body: Json, exchange: Exchange, usage: Usage, pacer: Pacer, pace: Pace) -> AsyncGenerator[bytes]:
    """Word by word, each when its pacer says; a comment whenever that takes long."""
    frames = exchange.frames()
    for chunk in (piece for whole in unfolded(body) for piece in pieces(whole)):
        left = pacer.wait(chunk)
        while left > 0:
            await asyncio.sleep(min(left, pace.keepalive))
            left -= pace.keepalive
            if left > 0:
                yield frames.quiet()
        yield frames.chunks([chunk], usage)
    yield frames.end(usage)


def unfolded(body: Json) -> list[Json]:
    """The answer as chunks: one delta per choice, then its end."""
    head: Json = {k: body[k] for k in ("id", "created", "model", "system_fingerprint") if k in body}
    chat = body.get("object") == "chat.completion"
    head["object"] = "chat.completion.chunk" if chat else "text_completion"
    told = [delta for choice in body["choices"] for delta in (_delta(choice) if chat else [choice])]
    return [{**head, "choices": [choice]} for choice in told]


def pieces(chunk: Json) -> Iterator[Json]:
    """A chunk of one choice as chunks of a word each; what else it says comes with the first, its end with the last."""
    [choice] = chunk["choices"]
    delta = choice.get("delta")
    said = choice.get("text") if delta is None else delta.get("content")
    words = WORD.findall(said) if isinstance(said, str) else []
    if len(words) < 2:  # noqa: PLR2004 (one word is one piece)
        yield chunk
        return
    bare = {"index": choice["index"], "finish_reason": None}
    for at, word in enumerate(words):
        first = choice if at == 0 else bare
        end = choice.get("finish_reason") if at == len(words) - 1 else None
        text = {"text": word} if delta is None else {"delta": {**(delta if at == 0 else {}), "content": word}}
        yield {**chunk, "choices": [{**first, **text, "finish_reason": end}]}


def _delta(choice: Json) -> list[Json]:
    message = dict(choice["message"])
    if calls := message.get("tool_calls"):
        message["tool_calls"] = [{"index": i, **call} for i, call in enumerate(calls)]
    said = {k: v for k, v in choice.items() if k not in {"message", "finish_reason"}}
    end = {"index": choice["index"], "delta": {}, "finish_reason": choice.get("finish_reason")}
    return [{**said, "delta": message, "finish_reason": None}, end]
