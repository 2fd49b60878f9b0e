"""Idle kill: stops a call that runs too long, grows too large or costs too much, and callers that go in circles."""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final

import orjson

from app.gateway.exchange import Exchange
from app.gateway.leash import Leash, Limits, stopped
from app.gateway.modules.catalogue import parse_duration
from app.gateway.money import nano_from_usd
from app.gateway.steps import Module, Steps
from app.problems import Problem

MOST_KNOWN: Final = 50_000


class Idlekill(Module):
    """What a request is by itself is judged before anybody is asked, the rest while the call is under way."""

    COUNTS = ("stopped", "loops")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.clock = clock
        # When each of the last requests came, the one that came last at the end.
        self._seen: OrderedDict[bytes, deque[float]] = OrderedDict()

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """The limits; 0 is none."""
        limits = Limits(
            parse_duration(settings["max_duration"]) or math.inf,
            settings["max_tokens_per_request"],
            nano_from_usd(float(settings["max_cost_per_request"])) or math.inf,
        )
        window, most = parse_duration(settings["loop_window"]), settings["loop_threshold"]

        def request(exchange: Exchange) -> None:
            if settings["loop_detection"]:
                self._look_for_loop(exchange, window, most)
            exchange.leash = Leash(exchange, limits, self._count)
            exchange.leash.judge_request()

        return Steps(request=request)

    def _count(self) -> None:
        self.counted["stopped"] += 1

    def _look_for_loop(self, exchange: Exchange, window: float, most: int) -> None:
        """Problem 429 for the call that makes a loop; it does not count itself, so that a caller who waits gets on."""
        moment, key = self.clock(), _same(exchange)
        times = self._seen.setdefault(key, deque())
        self._seen.move_to_end(key)
        while times and times[0] <= moment - window:
            times.popleft()
        if len(times) + 1 >= most:
            self.counted["loops"] += 1
            raise _loop(len(times) + 1, max(1, math.ceil(times[0] + window - moment)))
        times.append(moment)
        if len(self._seen) > MOST_KNOWN:
            self._seen.popitem(last=False)


def _same(exchange: Exchange) -> bytes:
    """What two calls have in common that are one call repeated."""
    told = [exchange.call.principal.subject, exchange.call.operation.id, exchange.model, exchange.body]
    return sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).digest()


def _loop(times: int, wait: int) -> Problem:
    message = f"The same call came {times} times in a row: it looks like a loop; try again in {wait}s"
    problem = stopped(429, message, "loop")
    problem.headers |= {"retry-after": str(wait)}
    return problem
