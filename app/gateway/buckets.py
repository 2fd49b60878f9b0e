"""Token buckets for one process: exact, refilled by time, bounded in number."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

MOST = 100_000


@dataclass(frozen=True, slots=True)
class Level:
    """A bucket after one call: `wait` is seconds until the next token when there was none."""

    admitted: bool
    remaining: int
    wait: float
    full_in: float


class Buckets:
    """Buckets by key, made full on first use; a key that was full again is forgotten when room is needed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: dict[str, tuple[float, float]] = {}

    def take(self, key: str, per_second: float, burst: int) -> Level:
        """Take one token."""
        now = self._clock()
        tokens, seen = self._held.get(key, (float(burst), now))
        # A clock that steps back must not take tokens away.
        tokens = min(float(burst), tokens + max(0.0, now - seen) * per_second)
        admitted = tokens >= 1.0
        if admitted:
            tokens -= 1.0
        if key not in self._held and len(self._held) >= MOST:
            self._forget_full(now, per_second, burst)
        self._held[key] = (tokens, now)
        return Level(admitted, int(tokens), 0.0 if admitted else (1.0 - tokens) / per_second, (burst - tokens) / per_second)

    def _forget_full(self, now: float, per_second: float, burst: int) -> None:
        self._held = {k: (t, s) for k, (t, s) in self._held.items() if t + (now - s) * per_second < burst}
