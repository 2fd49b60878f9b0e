"""Stream throttle: a provider's stream is passed on no faster than an operator lets it be read."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from app.gateway.exchange import Exchange
from app.gateway.steps import Module, Steps
from app.gateway.usage import CHARS_PER_TOKEN, texts
from app.gateway.wire import Json


class Throttle:
    """One stream's pace: a bucket of tokens, which a large piece may overdraw; what follows waits then."""

    __slots__ = ("_burst", "_clock", "_counted", "_left", "_rate", "_seen")

    def __init__(
        self, rate: float, burst: float, counted: Callable[[float], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._left = rate, burst, burst
        self._clock, self._seen = clock, clock()
        self._counted = counted

    def wait(self, chunk: Json) -> float:
        """Seconds before this chunk may be sent."""
        moment = self._clock()
        self._left = min(self._burst, self._left + max(0.0, moment - self._seen) * self._rate)
        self._seen = moment
        self._left -= _tokens(chunk)
        seconds = max(0.0, -self._left / self._rate)
        if seconds:
            self._counted(seconds)
        return seconds


def _tokens(chunk: Json) -> float:
    """About how many tokens a chunk brings, in parts of one: a token often comes in several chunks."""
    said = (choice.get("delta", choice) for choice in chunk.get("choices", ()))
    return sum(len(text) for one in said for text in texts(one)) / CHARS_PER_TOKEN


class Streamthrottle(Module):
    """Counts the streams it slowed, and for how long."""

    COUNTS = ("streams",)

    def __init__(self) -> None:
        super().__init__()
        self._waited = 0.0

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """One pace for every stream."""
        rate, burst = settings["tokens_per_second"], settings["burst"]

        def throttle(_exchange: Exchange) -> Throttle:
            self.counted["streams"] += 1
            return Throttle(rate, burst, self._count)

        return Steps(throttle=throttle)

    def stats(self) -> Json:
        """Streams that were passed on at a pace, and the seconds they were held back in all."""
        return {**super().stats(), "waited_s": round(self._waited, 3)}

    def _count(self, seconds: float) -> None:
        self._waited += seconds
