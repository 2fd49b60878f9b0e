"""The chain as data: which modules a call passes through, in the order they act, and what each one counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from app.gateway.breaker import Breaker
from app.gateway.money import usd

if TYPE_CHECKING:
    from app.gateway.lane import Gateway

Json = dict[str, Any]

# Failover chooses the target, retrypilot repeats the call there; what was spent is known before it is logged.
ORDER: Final = (
    "authgate",
    "rateshield",
    "modelalias",
    "cachelayer",
    "failover",
    "retrypilot",
    "spend",
    "logging",
)


def stats(gateway: Gateway, name: str) -> Json:
    """What the module counted in this worker; nothing for one outside the chain."""
    return STATS[name](gateway) if name in STATS else {}


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
    cache = gateway.cache
    entries, size = cache.size
    counted = {"hits": cache.hits, "misses": cache.misses, "evicted": cache.evicted}
    return counted | {"entries": entries, "bytes": size, "saved_usd": usd(gateway.tally.saved_nano)}


def _failover(gateway: Gateway) -> Json:
    circuits = {name: circuit(breaker) for name, breaker in sorted(gateway.attempts.breakers.items())}
    return {"open": sum(c["state"] == "open" for c in circuits.values()), "circuits": circuits}


def _spend(gateway: Gateway) -> Json:
    tally = gateway.tally
    return {"settled": tally.settled, "unpriced": tally.unpriced, "spent_usd": usd(tally.spent_nano)}


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
    "failover": _failover,
    "retrypilot": lambda gateway: {"attempts": gateway.tally.attempts, "repeated": gateway.tally.repeated},
    "spend": _spend,
    "logging": _logging,
}
