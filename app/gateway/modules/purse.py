"""Purses: money that a tenant or a session may spend, held call by call in counts that all workers share.

As with budgets, the worst case of a call is held before a provider is asked, and what it cost stays: parallel calls
never spend more than there is. What a worker that dies still holds is held until the purse ends.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.gateway.caps import refusals
from app.gateway.failures import NEVER_RETRY
from app.gateway.money import usd, usd_text
from app.problems import Problem

if TYPE_CHECKING:
    from app.gateway.counts import Counts
    from app.gateway.exchange import Exchange
    from app.gateway.steps import Offer

LONGEST_WAIT_S = 2_592_000


@dataclass(frozen=True, slots=True)
class Purse:
    """A count of nano-dollars: its key, the seconds it is kept for, and the most it may come to.

    `whose` is how a refusal calls it. `ends_at` is when it begins anew, in epoch seconds; None when it never does.
    """

    key: str
    seconds: int
    most: int
    whose: str
    ends_at: float | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """What one call holds of a purse, in nano-dollars."""

    purse: Purse
    amount: int


async def hold(counts: Counts, exchange: Exchange, purse: Purse, offer: Offer, *, reason: str, unpriced: str) -> Offer:
    """Hold the call's worst case; the offers left, or Problem 429 where there is no room, 403 without a price.

    `reason` is the module's name; `unpriced` is `refuse` or `allow`, for offers whose price is not known.
    """
    left = [(target, amount) for target, amount in offer if amount is not None or unpriced == "allow"]
    first = offer[0][0]
    try:
        if not left:
            raise refusals.unpriced(exchange, first)
        amount = max(amount or 0 for _, amount in left)
        spent, _ = await counts.add(purse.key, purse.seconds, amount)
        if spent > purse.most:
            counts.later(purse.key, purse.seconds, -amount)
            raise _empty(purse, spent - amount, amount, reason)
    except Problem:
        exchange.provider, exchange.model = first.provider.name, first.model
        raise
    exchange.keep(reason, Held(purse, amount))
    return left


def settle(counts: Counts, exchange: Exchange, reason: str) -> int:
    """Let go of what the call did not cost; nano-dollars it did cost. An unknown price counts nothing."""
    held = exchange.taken(reason)
    if not isinstance(held, Held):
        return 0
    cost = exchange.cost_nano or 0
    if cost != held.amount:
        counts.later(held.purse.key, held.purse.seconds, cost - held.amount)
    return cost


def refusal(message: str, details: dict[str, Any], ends_at: float | None) -> Problem:
    """429 that no client repeats by itself, with the wait where waiting helps."""
    headers = dict(NEVER_RETRY)
    if ends_at is not None:
        wait = min(LONGEST_WAIT_S, max(1, math.ceil(ends_at - time.time())))
        headers |= {"retry-after": str(wait)}
        details |= {"resets_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(math.ceil(ends_at)))}
    return Problem(429, message, details=details, headers=headers)


def _empty(purse: Purse, spent: int, amount: int, reason: str) -> Problem:
    told = f"{usd_text(spent)} of {usd_text(purse.most)} USD are spent or held, and this call may cost"
    details = {"reason": reason, "limit": "spend", "cap": usd(purse.most), "spent": usd(spent), "needed": usd(amount)}
    return refusal(
        f"The budget of this {purse.whose} has no room: {told} {usd_text(amount)} USD", details, purse.ends_at
    )
