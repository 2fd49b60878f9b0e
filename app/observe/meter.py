"""Counters of one worker, cheap enough for every call: a dictionary look-up and a few additions each.

A series is a list of integers under its labels; durations are microseconds, money is nano-dollars. What is done to
them happens on the event loop's thread alone, except for reading.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# Upper bounds of the buckets, in microseconds; a last one takes the rest.
BOUNDS_US: Final = tuple(
    int(seconds * 1_000_000)
    for seconds in (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
)
EMPTY: Final = [0] * (len(BOUNDS_US) + 3)
# Callers choose names of models: beyond so many series of calls, a new name counts as OTHER.
MOST_SERIES: Final = 500
OTHER: Final = "other"
CLASSES: Final = ("unanswered", "1xx", "2xx", "3xx", "4xx", "5xx")
CALLS: Final = 8
Series = dict[tuple[str, ...], list[int]]


def observe(series: Series, key: tuple[str, ...], took_us: int) -> None:
    """Add to a histogram: count, sum, then a number for each bucket."""
    held = series.get(key)
    if held is None:
        held = series[key] = EMPTY.copy()
    held[0] += 1
    held[1] += took_us
    held[2 + bisect_left(BOUNDS_US, took_us)] += 1


class RequestMeter:
    """Requests by operation: histograms of their durations by operation, counts by operation and class of status."""

    def __init__(self) -> None:
        self.requests: Series = {}
        self.durations: Series = {}

    def answered(self, operation: str, status: int, took_us: int) -> None:
        """Count a request, streams at their end."""
        key = operation, CLASSES[status // 100] if 100 <= status < 600 else CLASSES[0]  # noqa: PLR2004 (HTTP)
        held = self.requests.get(key)
        if held is None:
            held = self.requests[key] = [0]
        held[0] += 1
        observe(self.durations, (operation,), took_us)

    def series(self) -> Mapping[str, Series]:
        """Everything counted."""
        return {"requests": self.requests, "request_durations": self.durations}


class CallMeter:
    """Model calls by provider, model, operation and outcome; durations by provider and operation."""

    def __init__(self) -> None:
        self.calls: Series = {}
        self.durations: Series = {}
        self.first_bytes: Series = {}

    def count(self, exchange: Any) -> None:
        """Count a settled call, given as an Exchange.

        A call's list: calls, tokens in, out, of those in from a cache, nano-dollars, calls of unknown price, attempts,
        nano-dollars saved.
        """
        provider, operation, usage = exchange.provider or "none", exchange.kind, exchange.usage
        held = self.calls.get((provider, exchange.model, operation, exchange.status))
        if held is None:
            held = self._new(provider, exchange.model, operation, exchange.status)
        held[0] += 1
        if usage is not None:
            held[1] += usage.input + usage.cache_read + usage.cache_write + usage.cache_write_1h
            held[2] += usage.output + usage.reasoning
            held[3] += usage.cache_read
        if exchange.cost_nano is None:
            held[5] += 1
        else:
            held[4] += exchange.cost_nano
        held[6] += exchange.attempts
        held[7] += exchange.saved_nano
        observe(self.durations, (provider, operation), exchange.elapsed_us)
        if exchange.first_byte_us is not None:
            observe(self.first_bytes, (provider, operation), exchange.first_byte_us)

    def _new(self, provider: str, model: str, operation: str, status: str) -> list[int]:
        known = len(self.calls) < MOST_SERIES
        return self.calls.setdefault((provider, model if known else OTHER, operation, status), [0] * CALLS)

    def series(self) -> Mapping[str, Series]:
        """Everything counted."""
        return {"calls": self.calls, "call_durations": self.durations, "first_bytes": self.first_bytes}
