"""Partial cache: the beginning that a prompt shares with the one before is marked for the provider's cache."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from itertools import accumulate
from typing import Any, Final

import orjson

from app.gateway.chat_request import SYSTEM_ROLES
from app.gateway.exchange import Exchange
from app.gateway.modules.accounts import account_of
from app.gateway.modules.anthrofit import PROVIDER, is_marked
from app.gateway.modules.bodies import role_of
from app.gateway.steps import Module, Steps
from app.gateway.usage import CHARS_PER_TOKEN
from app.gateway.wire import Json, Target

NAME: Final = "partialcache"
MOST_KNOWN: Final = 100_000
LIFETIMES: Final = {"5m": 300.0, "1h": 3600.0}


class Partialcache(Module):
    """Only what was sent before is marked, for a mark on what is never sent again costs more than none.

    Other providers than Anthropic find such beginnings by themselves.
    """

    COUNTS = ("marked", "left")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.clock = clock
        # When each beginning was sent last, the one sent last at the end.
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Before each attempt at the provider; what a call shares is looked up once."""
        least, ttl = settings["min_tokens"] * CHARS_PER_TOKEN, settings["ttl"]
        hint = {"type": "ephemeral"} | ({"ttl": ttl} if ttl != "5m" else {})

        def fit(exchange: Exchange, body: Json, target: Target) -> Json:
            messages = body.get("messages")
            if target.provider.name != PROVIDER or not isinstance(messages, list) or is_marked(body):
                return body
            held = exchange.kept.get(NAME) if exchange.kept else None
            if held is None:
                held = self._shared(exchange, body, target.model, least, LIFETIMES[ttl])
                exchange.keep(NAME, held)
                self.counted["left" if held < 0 else "marked"] += 1
            return body if held < 0 else {**body, "messages": _marked(messages, held, hint)}

        return Steps(fit=fit)

    def forget(self) -> None:
        """Let go of what was sent."""
        self._seen.clear()

    def _shared(self, exchange: Exchange, body: Json, model: str, least: int, lifetime: float) -> int:
        """The place of the message that a beginning ends with that was sent before and is long enough; -1 for none."""
        places = _as_sent(body["messages"])
        texts = [orjson.dumps(body["messages"][at]) for at in places]
        since = self.clock() - lifetime
        marks = _marks(exchange, body, model, texts)
        sizes = accumulate(map(len, texts))
        known = [
            at
            for at, mark, size in zip(places, marks, sizes, strict=True)
            if size >= least and self._seen.get(mark, -1.0) > since and _can_be_marked(body["messages"][at])
        ]
        self._note(marks)
        return known[-1] if known else -1

    def _note(self, marks: Sequence[bytes]) -> None:
        moment = self.clock()
        for mark in marks:
            self._seen[mark] = moment
            self._seen.move_to_end(mark)
        while len(self._seen) > MOST_KNOWN:
            self._seen.popitem(last=False)


def _as_sent(messages: Sequence[Any]) -> list[int]:
    """The places of the messages in the order the provider reads them: instructions first."""
    return sorted(range(len(messages)), key=lambda at: role_of(messages[at]) not in SYSTEM_ROLES)


def _marks(exchange: Exchange, body: Json, model: str, texts: Sequence[bytes]) -> list[bytes]:
    """A mark for each beginning of this caller's prompt, which tools and the model are part of."""
    said = [account_of(exchange), model, body.get("tools"), body.get("tool_choice")]
    head = sha256(orjson.dumps(said)).digest()
    return list(accumulate(texts, lambda mark, text: sha256(mark + text).digest(), initial=head))[1:]


def _can_be_marked(message: Any) -> bool:
    """Whether it ends in words, or is a tool's result: on nothing else a mark is sure to be taken."""
    if role_of(message) == "tool":
        return True
    content = message.get("content") if isinstance(message, dict) else None
    last = content[-1] if isinstance(content, list) and content else content
    text = last.get("text") if isinstance(last, dict) and last.get("type") == "text" else last
    return isinstance(text, str) and bool(text.strip()) and not message.get("tool_calls")


def _marked(messages: Sequence[Any], at: int, hint: Json) -> list[Any]:
    return [*messages[:at], _with_mark(messages[at], hint), *messages[at + 1 :]]


def _with_mark(message: Json, hint: Json) -> Json:
    if role_of(message) == "tool":
        return {**message, "cache_control": hint}
    content = message["content"]
    *others, last = content if isinstance(content, list) else [content]
    part = {"type": "text", "text": last} if isinstance(last, str) else last
    return {**message, "content": [*others, {**part, "cache_control": hint}]}
