"""Mirror test: copies of real calls go to a second model, and its answers are compared with those that were given."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules import purse
from app.gateway.modules.catalogue import parse_duration
from app.gateway.modules.multicall import MOST_WORDS, WORD, likeness, text_of
from app.gateway.modules.purse import Purse
from app.gateway.money import nano_from_usd, usd
from app.gateway.steps import Chain, Module, Offer, Place, Steps
from app.gateway.wire import Json, Kind
from app.problems import Problem
from app.runtime import runtime

if TYPE_CHECKING:
    from app.gateway.counts import Counts

NAME: Final = "mirrortest"
# Copies a worker makes at once; beyond it calls are left out.
MOST_AT_ONCE: Final = 20
TWO_DAYS_S: Final = 172_800


class Mirrortest(Module):
    """A copy is made once its call is over: nobody waits for it, or pays for it but this server."""

    COUNTS = ("copied", "answered", "failed", "left_out", "same")

    def __init__(self) -> None:
        super().__init__()
        self._going: set[asyncio.Task[None]] = set()
        self._sums: defaultdict[str, float] = defaultdict(float)

    def settle_in(self, place: Place) -> None:
        """Money is counted where all workers do."""
        self._counts: Counts = place.counts

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Nothing without a model, or money for it."""
        most, rate = nano_from_usd(float(settings["max_daily_cost"])), settings["sample_rate"]

        def settled(exchange: Exchange) -> None:
            if not _can_be_copied(exchange) or random.random() >= rate:  # noqa: S311 (a share of calls)
                return
            if len(self._going) >= MOST_AT_ONCE:
                self.counted["left_out"] += 1
                return
            task = asyncio.get_running_loop().create_task(self._copy(exchange, settings, most))
            self._going.add(task)
            task.add_done_callback(self._going.discard)

        return Steps(settled=settled if settings["model"] and most and rate else None)

    def stats(self) -> Json:
        """With the means over the answers compared: the words they share, seconds and dollars of both sides."""
        compared = self.counted["answered"] or 1
        means = {name: round(self._sums[name] / compared, 3) for name in ("likeness", "seconds", "copy_seconds")}
        return super().stats() | means | {name: usd(round(self._sums[name] / compared)) for name in ("usd", "copy_usd")}

    async def stop(self) -> None:
        """End the copies under way; they are settled."""
        for task in self._going:
            task.cancel()
        await asyncio.gather(*self._going, return_exceptions=True)

    async def _copy(self, exchange: Exchange, settings: Mapping[str, Any], most: int) -> None:
        gateway, seconds = runtime().gateway, parse_duration(settings["timeout"])
        chain = self._chain(exchange, most)
        await gateway.aside.copy(exchange, settings["model"], chain, gateway.config, seconds)

    def _chain(self, exchange: Exchange, most: int) -> Chain:
        """What a copy of this call, which just ended, passes through: the day's money, and the comparison."""
        took = exchange.elapsed_us

        async def hold(copy: Exchange, offer: Offer) -> Offer:
            try:
                held = await purse.hold(self._counts, copy, _today(most), offer, reason=NAME, unpriced="refuse")
            except Problem:
                self.counted["left_out"] += 1
                raise
            self.counted["copied"] += 1
            return held

        def settled(copy: Exchange) -> None:
            purse.settle(self._counts, copy, NAME)
            if copy.status == "ok":
                self._compare(exchange, copy, took)
            else:
                self.counted["failed"] += 1

        return Chain([Steps(hold=hold, settled=settled), *(exchange.chain.asides if exchange.chain else ())])

    def _compare(self, exchange: Exchange, copy: Exchange, took: int) -> None:
        one, other = (WORD.findall(text_of(side).casefold())[:MOST_WORDS] for side in (exchange, copy))
        self.counted["answered"] += 1
        self.counted["same"] += one == other
        told = {"likeness": likeness(frozenset(one), frozenset(other)) if one or other else 1.0}
        told |= {"seconds": took / 1e6, "copy_seconds": copy.elapsed_us / 1e6}
        for name, value in (told | {"usd": exchange.cost_nano or 0, "copy_usd": copy.cost_nano or 0}).items():
            self._sums[name] += value


def _can_be_copied(exchange: Exchange) -> bool:
    """Whether a provider of this server answered a chat, for this call alone."""
    ours = not exchange.call.principal.secret and exchange.fan is None
    return ours and exchange.kind is Kind.CHAT and exchange.status == "ok" and _was_asked(exchange)


def _was_asked(exchange: Exchange) -> bool:
    return exchange.made is None and not exchange.cached and exchange.said is not None


def _today(most: int) -> Purse:
    day = datetime.now(UTC).date()
    ends = datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC).timestamp()
    return Purse(f"{NAME}:{day.isoformat()}", TWO_DAYS_S, most, "day's copies", ends)
