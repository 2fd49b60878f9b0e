"""The gateway's answer cache as the control plane sees it: counted, outdated, emptied, swept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, delete, or_, select, update

from app.engine import Context
from app.gateway.modules.catalogue import parse_duration
from app.gateway.money import usd
from app.services import audit
from app.services.metrics.shared import Counted
from app.services.revisions import bump
from models.answers import CachedAnswer, CacheEpoch
from models.base import now, session, transaction

if TYPE_CHECKING:
    from app.gateway.lane import Gateway

Json = dict[str, Any]
Held = tuple[int, int]


def outdate() -> None:
    """Let no answer kept until this transaction be given again; whoever calls this bumps the revision as well."""
    session().execute(update(CacheEpoch).values(number=CacheEpoch.number + 1))


def empty() -> int:
    """Begin a new epoch, as an operator asked; the number of the one that is over."""
    outdate()
    bump()
    audit.note("cache.clear", "cache", None)
    return (session().scalar(select(CacheEpoch.number)) or 1) - 1


def report(gateway: Gateway, counted: Counted, living: Iterable[Json], held: Held | None) -> Json:
    """The cache of all workers, given what they told and what the shared store holds (None: it does not say)."""
    settings = gateway.config.of("cachelayer")
    sums = counted.get("cache", {})
    memory, shared, similar, misses, saved = sums.get('["answers"]', [0] * 5)
    hits, asked = memory + shared + similar, memory + shared + similar + misses
    entries, size = _standing(settings["shared"], living := list(living), held)
    return {
        "enabled": gateway.config.on("cachelayer"),
        "strategy": settings["strategy"],
        "ttl_seconds": parse_duration(settings["ttl"]),
        "entries": entries,
        "size_bytes": size,
        "hits": hits,
        "exact_hits": memory + shared,
        "semantic_hits": similar,
        "misses": misses,
        "hit_rate": round(hits / asked, 6) if asked else 0.0,
        "savings_usd": usd(saved),
        "memory": {"workers": len(living)} | _held(living, "cache"),
        "shared": _shared(gateway, held),
        "embeddings": _embeddings(living, *sums.get('["embeddings"]', [0] * 2)),
    }


def _standing(shared: bool, living: list[Json], held: Held | None) -> Held:
    """Answers and their bytes. What is shared is in memory as well: it counts once, from the moment it is kept."""
    there = [(int(told.get("cache_entries", 0)), int(told.get("cache_bytes", 0))) for told in living] or [(0, 0)]
    if not shared:
        return sum(entries for entries, _ in there), sum(size for _, size in there)
    return max([*there, held or (0, 0)])


def _shared(gateway: Gateway, held: Held | None) -> Json:
    if not gateway.config.of("cachelayer")["shared"]:
        return {"store": "none", "available": False, "entries": 0, "size_bytes": 0}
    entries, size = held or (0, 0)
    told: Json = {"store": gateway.answers.shared.name, "available": held is not None}
    return told | {"entries": entries, "size_bytes": size}


def _embeddings(living: list[Json], hits: int, misses: int) -> Json:
    return _held(living, "embed") | {"hits": hits, "misses": misses}


def _held(living: list[Json], what: str) -> Json:
    named = {"entries": f"{what}_entries", "size_bytes": f"{what}_bytes"}
    return {name: sum(int(told.get(key, 0)) for told in living) for name, key in named.items()}


class Sweep:
    """The engine's turn that deletes shared answers that nobody may have any more, though nobody writes new ones."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, _context: Context) -> None:
        """Delete them."""
        with transaction(self._engine) as opened:
            epoch = select(CacheEpoch.number).scalar_subquery()
            over = or_(CachedAnswer.expires_at <= now(), CachedAnswer.epoch < epoch)
            opened.execute(delete(CachedAnswer).where(over))
