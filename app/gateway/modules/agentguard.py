"""Agent guard: an end to the sessions of autonomous agents, by calls, by money and by time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from app.gateway.counts import Counts
from app.gateway.exchange import Exchange
from app.gateway.modules import purse
from app.gateway.modules.accounts import account_of
from app.gateway.modules.catalogue import parse_duration
from app.gateway.modules.purse import Purse, refusal
from app.gateway.steps import Module, Offer, Place, Steps
from app.problems import Problem
from app.services.spending.user_caps import cap_nano

NAME = "agentguard"
SESSION = "x-agent-session"
# How long a session is known at least: one that was stopped is not started again by waiting a little.
KNOWN_S = 7 * 86_400


class Agentguard(Module):
    """A session is an account's own: another account's of the same name is another one."""

    COUNTS = ("admitted", "unnamed", "calls", "cost", "duration")

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._clock = clock

    def settle_in(self, place: Place) -> None:
        """It counts where all workers do."""
        self._counts: Counts = place.counts

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Calls and time as a call comes in; money once the targets are known."""
        most_calls, most_cost = settings["max_calls"], cap_nano(settings["max_cost"])
        longest, unpriced = parse_duration(settings["max_duration"]), settings["unpriced"]
        known = max(KNOWN_S, math.ceil(longest))

        async def request(exchange: Exchange) -> None:
            if key := _key(exchange):
                exchange.details["agent_session"] = exchange.call.headers[SESSION].strip()[:200]
                await self._count(f"{key}:calls", known, most_calls, longest)
            elif settings["require_session"]:
                raise self._without()

        async def hold(exchange: Exchange, offer: Offer) -> Offer:
            key = _key(exchange)
            if not key:
                return offer
            held = Purse(f"{key}:cost", known, most_cost, "agent's session")
            try:
                return await purse.hold(self._counts, exchange, held, offer, reason=NAME, unpriced=unpriced)
            except Problem:
                self.counted["cost"] += 1
                raise

        def settled(exchange: Exchange) -> None:
            purse.settle(self._counts, exchange, NAME)

        return Steps(request=request, hold=hold if most_cost else None, settled=settled, binding=True)

    async def _count(self, key: str, known: int, most_calls: int, longest: float) -> None:
        """Count the call; Problem 429 when there were enough, or the first was too long ago."""
        calls, ends_at = await self._counts.add(key, known)
        if longest and self._clock() - (ends_at - known) > longest:
            raise self._stopped("duration", longest, "has run for long enough")
        if most_calls and calls > most_calls:
            raise self._stopped("calls", most_calls, "has made all its calls")
        self.counted["admitted"] += 1

    def _without(self) -> Problem:
        self.counted["unnamed"] += 1
        details = {"reason": NAME, "param": "X-Agent-Session"}
        return Problem(400, "This call must name its session in X-Agent-Session", details=details)

    def _stopped(self, limit: str, most: float, said: str) -> Problem:
        self.counted[limit] += 1
        return refusal(f"This agent's session {said}", {"reason": NAME, "limit": limit, "cap": most}, None)


def _key(exchange: Exchange) -> str:
    """The session's key; empty for a call of none."""
    name = exchange.call.headers.get(SESSION, "").strip()
    return f"{NAME}:{account_of(exchange)}:{name}" if name else ""
