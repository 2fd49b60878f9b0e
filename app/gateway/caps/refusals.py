"""How a call that a budget has no room for is refused: what is spent, of what, until when, and not to retry."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING

from app.gateway.caps.store import Limit, Refusal, Reserve
from app.gateway.failures import NEVER_RETRY
from app.gateway.money import usd, usd_text
from app.problems import Problem
from app.services.spending.counters import Standing
from app.services.spending.periods import kind, resets_at

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange
    from app.gateway.wire import Target


def over(asked: Reserve, refusal: Refusal, moment: datetime) -> Problem:
    """429, of the full budgets with the one that stays full longest; `Retry-After` is when there may be room again."""
    limit, standing = max(refusal.full, key=lambda found: (_spent(asked, *found), resets_at(found[0].key.period)))
    reset, most = resets_at(limit.key.period), limit.most or 0
    wait = max(1, math.ceil((reset - moment).total_seconds())) if _spent(asked, limit, standing) else 1
    details = {
        "cap": usd(most),
        "spent": usd(standing.spent),
        "period": kind(limit.key.period),
        "resets_at": f"{reset:%Y-%m-%dT%H:%M:%SZ}",
        "scope": limit.key.scope,
        "reserved": usd(standing.reserved),
        "needed": usd(asked.amount),
    }
    message = _sentence(asked, limit, standing, reset)
    return Problem(429, message, details=details, headers=NEVER_RETRY | {"retry-after": str(wait)})


def busy(asked: Reserve, refusal: Refusal) -> bool:
    """Whether only calls under way stand in the way: they may leave room when they end."""
    return not any(_spent(asked, *found) for found in refusal.full)


def _spent(asked: Reserve, limit: Limit, standing: Standing) -> bool:
    return standing.spent + asked.amount > (limit.most or 0)


def _sentence(asked: Reserve, limit: Limit, standing: Standing, reset: datetime) -> str:
    most, whose = limit.most or 0, f"{kind(limit.key.period)} budget of this {limit.key.scope}"
    may_cost = f"this call may cost {usd_text(asked.amount)} USD"
    if asked.amount > most:
        return f"The {whose} is {usd_text(most)} USD, and {may_cost}: ask for fewer tokens (max_tokens)"
    told = f"{usd_text(standing.spent)} of {usd_text(most)} USD are spent"
    if _spent(asked, limit, standing):
        return f"The {whose} has no room: {told}, and {may_cost}; it begins anew at {reset:%Y-%m-%dT%H:%M:%SZ}"
    return f"The {whose} is held by calls under way: {told}, {usd_text(standing.reserved)} reserved, and {may_cost}"


def unpriced(exchange: Exchange, target: Target) -> Problem:
    """403: what cannot be priced cannot be held to a budget."""
    name = f"{target.model[:100]} at {target.provider.name}"
    details = {"reason": "unpriced_model", "provider": target.provider.name, "model": exchange.model[:256]}
    message = f"The price of {name} is not known, so no budget can hold it: the operator can import one"
    return Problem(403, message, details=details, headers=NEVER_RETRY)


def unheld() -> Problem:
    """503: the store of reservations does not answer, and a budget that cannot be held holds nobody."""
    return Problem(503, "Budgets cannot be checked at the moment; the call was not made", headers={"retry-after": "1"})
