"""Token buckets for one process: exact, refilled by time, bounded in number."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

MOST = 100_000


@dataclass(slots=True)
class Level:
    """A bucket after one call: `wait` is seconds until the next token when there was none."""

    admitted: bool
    remaining: int
    wait: float
    full_in: float


class Buckets:
    """Buckets by key, made full on first use; the one used longest ago is forgotten when room is needed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._held: dict[str, tuple[float, float]] = {}

    def take(self, key: str, per_second: float, burst: int) -> Level:
        """Take one token."""
        now = self._clock()
        tokens, seen = self._held.pop(key, (float(burst), now))
        now = max(now, seen)  # a clock that steps back must neither take tokens away nor give any twice
        tokens = min(float(burst), tokens + (now - seen) * per_second)
        admitted = tokens >= 1.0
        if admitted:
            tokens -= 1.0
        while len(self._held) >= self._most:
            del self._held[next(iter(self._held))]
        self._held[key] = (tokens, now)
        wait = 0.0 if admitted else (1.0 - tokens) / per_second
        return Level(admitted, int(tokens), wait, (burst - tokens) / per_second)
