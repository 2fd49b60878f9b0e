"""The exact cache: whole answers by tenant, model and canonical request; least recently used first out."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import orjson

from app.gateway.wire import Json, Usage

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange

# These change how an answer is delivered or accounted, not what it says.
NOT_IN_KEY = frozenset({"stream", "stream_options", "user", "metadata", "store"})


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer worth giving again, with what it cost the first time."""

    body: Json
    usage: Usage
    cost_nano: int | None
    provider: str
    expires: float


def key_of(exchange: Exchange, version: int) -> bytes:
    """SHA-256 of everything that may change the answer: tenant, provider, configuration and the whole request."""
    body = {k: v for k, v in exchange.body.items() if k not in NOT_IN_KEY}
    principal = exchange.call.principal
    tenant = f"user:{principal.user_id}" if principal.user_id is not None else principal.subject
    if principal.secret:
        tenant = f"{tenant}:{sha256(principal.secret.encode()).hexdigest()}"
    said = [version, tenant, exchange.kind, exchange.model, exchange.wanted_provider, body]
    return sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).digest()


class AnswerCache:
    """Answers of this worker. Bounded in number and in bytes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most_bytes: int = 64 * 1024 * 1024) -> None:
        self._clock = clock
        self._most_bytes = most_bytes
        self._held: OrderedDict[bytes, tuple[bytes, Kept]] = OrderedDict()
        self._bytes = 0
        self.hits = 0
        self.misses = 0
        self.evicted = 0

    @property
    def size(self) -> tuple[int, int]:
        """How many answers are held, and their bytes."""
        return len(self._held), self._bytes

    def get(self, key: bytes) -> tuple[bytes, Kept] | None:
        """The answer's JSON and what is known of it, if still fresh."""
        found = self._held.get(key)
        if found is None or found[1].expires <= self._clock():
            self._drop(key)
            self.misses += 1
            return None
        self._held.move_to_end(key)
        self.hits += 1
        return found

    def put(self, key: bytes, raw: bytes, kept: Kept, most: int) -> None:
        """Keep an answer, making room by dropping what was used longest ago."""
        if len(raw) > self._most_bytes // 16:
            return
        self._drop(key)
        self._held[key] = (raw, kept)
        self._bytes += len(raw)
        while len(self._held) > most or self._bytes > self._most_bytes:
            self._drop(next(iter(self._held)))
            self.evicted += 1

    def expiry(self, ttl: float) -> float:
        """When an answer kept now stops being fresh."""
        return self._clock() + ttl

    def _drop(self, key: bytes) -> None:
        if (old := self._held.pop(key, None)) is not None:
            self._bytes -= len(old[0])
