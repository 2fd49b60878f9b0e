"""The chain as data: which modules a call passes through, in the order they act, and what each one counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from app.gateway.admission.pool import RESTING
from app.gateway.breaker import Breaker
from app.gateway.modules.registry import LEAVING, MAKERS
from app.gateway.money import usd
from app.services.observing import figures
from app.services.observing.switched import BESIDE, OBSERVERS
from app.services.vault.closing import NAME as VAULT
from models.base import session

if TYPE_CHECKING:
    from app.gateway.lane import Gateway

Json = dict[str, Any]

# Failover chooses the targets, whose prices budgets are held at; there a call waits for its place, gets its key, and
# is repeated by retrypilot; what was spent is known before it is logged, and what is logged is sealed. Observers look
# at calls when these are stored, wherever they were made; the last act on what is stored.
ORDER: Final = (
    "authgate",
    "ipfence",
    "tracelink",
    "whitelabel",
    "rateshield",
    "modelalias",
    *(name for name in MAKERS if name not in {"ipfence", "tracelink", "whitelabel", *LEAVING}),
    "cachelayer",
    "failover",
    "costcap",
    "usagepulse",
    "queuepriority",
    "keypool",
    "retrypilot",
    *LEAVING,
    "spend",
    "logging",
    VAULT,
    *OBSERVERS,
    *BESIDE,
)


def stats(gateway: Gateway, name: str) -> Json:
    """What the module counted in this worker, an observer in all of them; nothing for one outside the chain."""
    if name in {*OBSERVERS, *BESIDE}:
        return figures.shown(session(), name)
    return STATS[name](gateway) if name in STATS else gateway.modules.stats(name)


def circuit(breaker: Breaker | None) -> Json:
    """A circuit as shown; one nothing ever went through is closed."""
    if breaker is None:
        return {"state": "closed", "failures": 0}
    shown: Json = {"state": breaker.state, "failures": breaker.failures}
    return shown | ({"retry_after": round(breaker.retry_after(), 1)} if breaker.state == "open" else {})


def _rateshield(gateway: Gateway) -> Json:
    return {"admitted": gateway.shield.admitted, "refused": gateway.shield.refused}


def _modelalias(gateway: Gateway) -> Json:
    return {"aliases": len(gateway.config.aliases), "renamed": gateway.tally.renamed}


def _cachelayer(gateway: Gateway) -> Json:
    counts, memory = gateway.answers.counts, gateway.answers.memory
    entries, size = memory.size
    counted = {"hits": counts.hits, "shared_hits": counts.shared, "semantic_hits": counts.similar}
    counted |= {"vectors_failed": gateway.aside.failures, "misses": counts.misses, "evicted": memory.evicted}
    return counted | {"entries": entries, "bytes": size, "saved_usd": usd(counts.saved_nano)}


def _failover(gateway: Gateway) -> Json:
    circuits = {name: circuit(breaker) for name, breaker in sorted(gateway.attempts.breakers.items())}
    return {"open": sum(c["state"] == "open" for c in circuits.values()), "circuits": circuits}


def _retrypilot(gateway: Gateway) -> Json:
    """Attempts, those beyond a call's first, those the budget left out, and calls a smaller model answered."""
    counted = {"attempts": gateway.tally.attempts, "repeated": gateway.tally.repeated}
    attempts = gateway.attempts
    return counted | {"over_budget": attempts.budget.refused, "downgraded": attempts.downgraded}


def _spend(gateway: Gateway) -> Json:
    tally = gateway.tally
    counted = {"settled": tally.settled, "unpriced": tally.unpriced, "spent_usd": usd(tally.spent_nano)}
    return counted | {"notices": gateway.caps.notices.count, "last_notices": gateway.caps.notices.shown()}


def _costcap(gateway: Gateway) -> Json:
    caps = gateway.caps
    counted = {"admitted": caps.admitted, "refused": caps.refused, "beyond_worst_case": caps.beyond}
    held = [call.amount for call in caps.under_way.values()]
    return counted | {"budgets": len(caps.budgets), "under_way": len(held), "held_usd": usd(sum(held))}


def _queuepriority(gateway: Gateway) -> Json:
    return {"providers": {name: places.stats() for name, places in sorted(gateway.admissions.places.items())}}


def _keypool(gateway: Gateway) -> Json:
    keys = [key for _, pool in sorted(gateway.admissions.pools.items()) for key in pool.stats()]
    return {"resting": sum(key["state"] == RESTING for key in keys), "keys": keys}


def _logging(gateway: Gateway) -> Json:
    spool = gateway.spool
    return {
        "logged": gateway.tally.settled,
        "errors": gateway.tally.failed,
        "waiting": spool.waiting,
        "lost": spool.lost,
    }


STATS: Final[Mapping[str, Callable[[Gateway], Json]]] = {
    "rateshield": _rateshield,
    "modelalias": _modelalias,
    "cachelayer": _cachelayer,
    "costcap": _costcap,
    "usagepulse": lambda gateway: {"budgets": len(gateway.config.of("usagepulse")["caps"])},
    "failover": _failover,
    "queuepriority": _queuepriority,
    "keypool": _keypool,
    "retrypilot": _retrypilot,
    "spend": _spend,
    "logging": _logging,
    VAULT: lambda gateway: gateway.vault.stats(),
}
