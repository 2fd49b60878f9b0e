"""Quota sync: what is left at each provider, read from its answers, and minded before it refuses."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from app.gateway.caps.bound import most_output
from app.gateway.exchange import Exchange
from app.gateway.modules.catalogue import parse_duration
from app.gateway.modules.quotas import REQUESTS, Quota, read
from app.gateway.steps import Module, Offer, Steps
from app.gateway.usage import estimate_input
from app.gateway.wire import Target
from app.problems import Problem

MOST_KNOWN: Final = 10_000
Key = tuple[str, str, str]


class Quotasync(Module):
    """Quotas belong to an address, a key and a model. A pool looks after its keys, a caller after their own."""

    COUNTS = ("read", "held_back", "moved_on", "refused")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._known: OrderedDict[Key, tuple[Quota, ...]] = OrderedDict()

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Answers are read; the next call goes where there is room."""
        margin, longest = settings["margin"], parse_duration(settings["max_wait"])

        async def hold(exchange: Exchange, offer: Offer) -> Offer:
            return offer if exchange.call.principal.secret else await self._placed(exchange, offer, margin, longest)

        return Steps(hold=hold, heard=self._hear)

    def stats(self) -> dict[str, Any]:
        """With how many quotas are known."""
        return super().stats() | {"known": sum(map(len, self._known.values()))}

    def _hear(self, exchange: Exchange, target: Target, headers: Mapping[str, str]) -> None:
        pooled = target.admission is not None and target.admission.pool is not None
        if exchange.call.principal.secret or pooled or not (told := tuple(read(headers, self._clock()))):
            return
        self.counted["read"] += 1
        self._known[_key(target)] = told
        self._known.move_to_end(_key(target))
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    async def _placed(self, exchange: Exchange, offer: Offer, margin: float, longest: float) -> Offer:
        """The offers with one first that has room, by now or after a wait; Problem 429 when there is none in time."""
        if not any(_key(target) in self._known for target, _ in offer):
            return offer
        tokens = estimate_input(exchange.body) + _output(exchange)
        waits = {at: self._wait(t, tokens, margin) for at, (t, _) in enumerate(offer) if not t.smaller or not at}
        best = min(waits, key=lambda at: (waits[at], at))
        if waits[best] > longest:
            self.counted["refused"] += 1
            raise _full(offer[best][0], waits[best])
        self._take(offer[best][0], tokens)
        self.counted["moved_on"] += best > 0
        if waits[best]:
            self.counted["held_back"] += 1
            await asyncio.sleep(waits[best])
        return [offer[best], *offer[:best], *offer[best + 1 :]]

    def _wait(self, target: Target, tokens: int, margin: float) -> float:
        quotas, moment = self._known.get(_key(target), ()), self._clock()
        return max((quota.wait(_much(quota, tokens), margin, moment) for quota in quotas), default=0.0)

    def _take(self, target: Target, tokens: int) -> None:
        for quota in self._known.get(_key(target), ()):
            quota.take(_much(quota, tokens), self._clock())


def _key(target: Target) -> Key:
    return target.base_url, target.key, target.model


def _much(quota: Quota, tokens: int) -> int:
    return 1 if quota.what == REQUESTS else tokens


def _output(exchange: Exchange) -> int:
    """The tokens asked for, if any are: providers count them ahead, too."""
    asked = exchange.body.get("max_tokens") or exchange.body.get("max_completion_tokens")
    return most_output(exchange.kind, exchange.body, None, 0) if asked else 0


def _full(target: Target, wait: float) -> Problem:
    name, left = target.provider.name, max(1, math.ceil(wait))
    message = f"The quota at {name} is used up but for its margin; there is room again in {left}s"
    details = {"reason": "quotasync", "provider": name}
    return Problem(429, message, details=details, headers={"retry-after": str(left)})
