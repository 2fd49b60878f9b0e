"""Answers in a worker's memory: the exact cache's fast path. Least recently used first out."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from app.gateway.wire import Json, Usage


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer worth giving again, with what it cost the first time. `expires` is on the clock of whoever holds it.

    `similarity` is set where it answers another question: how much alike the two are.
    """

    body: Json
    usage: Usage
    cost_nano: int | None
    provider: str
    expires: float
    similarity: float | None = None


# An answer's JSON, and what is known of it.
Found = tuple[bytes, Kept]


class AnswerCache:
    """Answers of this worker. Bounded in number and in bytes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most_bytes: int = 64 * 1024 * 1024) -> None:
        self._clock = clock
        self._most_bytes = most_bytes
        self._held: OrderedDict[bytes, Found] = OrderedDict()
        self._bytes = 0
        self.evicted = 0

    @property
    def size(self) -> tuple[int, int]:
        """How many answers are held, and their bytes."""
        return len(self._held), self._bytes

    def get(self, key: bytes) -> Found | None:
        """The answer, if still fresh."""
        found = self._held.get(key)
        if found is None or found[1].expires <= self._clock():
            self._drop(key)
            return None
        self._held.move_to_end(key)
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

    def clear(self) -> None:
        """Let go of everything."""
        self._held.clear()
        self._bytes = 0

    def _drop(self, key: bytes) -> None:
        if (old := self._held.pop(key, None)) is not None:
            self._bytes -= len(old[0])
