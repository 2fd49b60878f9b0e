"""Rate limits: how the document writes them, where they are counted, and which headers tell of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage, Storage

from app.problems import Problem
from app.wire.ahead import Ahead, Count


@dataclass(frozen=True, slots=True)
class Rate:
    """One counted limit: `reset` is epoch seconds; `allowed` is false once the limit is spent."""

    limit: int
    remaining: int
    reset: float
    window: int
    allowed: bool = True

    @property
    def retry_after(self) -> int:
        """Whole seconds until the window ends: at least one, at most the window."""
        return max(1, min(self.window, math.ceil(self.reset - time.time())))


@dataclass(frozen=True, slots=True)
class Rule:
    """A limit as the document writes it: `5/15 minutes;ip+email` counts by address and e-mail."""

    items: tuple[RateLimitItem, ...]
    keys: tuple[str, ...]


def parse(text: str, default_key: str = "ip") -> Rule:
    """A rule from its text: amounts before the semicolon, what they are counted by after it."""
    amounts, _, keys = text.partition(";")
    return Rule(tuple(parse_many(amounts)), tuple((keys or default_key).split("+")))


class Limits:
    """Counts hits against rules in one store; without a store, limits are switched off."""

    def __init__(self, storage: Storage | None) -> None:
        self.enabled = storage is not None
        self._storage = storage or MemoryStorage()
        self.local = isinstance(self._storage, MemoryStorage)
        self._count: Count = getattr(self._storage, "count", None) or self._count_in_two
        self._ahead = Ahead(self._count, self._look)

    async def hit(self, rule: Rule, *key: str) -> Rate:
        """Count one hit; the tightest of the rule's amounts, with `allowed` false when one is spent."""
        return min([_rate(i, *await self._hit(i, i.key_for(*key))) for i in rule.items], key=_tightness)

    async def peek(self, rule: Rule, *key: str) -> Rate:
        """The same without counting: `allowed` is whether one more would be."""
        return min([_rate(i, *await self._peek(i.key_for(*key)), coming=1) for i in rule.items], key=_tightness)

    async def _hit(self, item: RateLimitItem, key: str) -> tuple[int, float]:
        """Memory answers at once; a shared store may wait, and must not make the event loop wait with it."""
        if self.local:
            return self._count(key, item.get_expiry(), 1)
        return await self._ahead.count(key, item.get_expiry(), item.amount)

    async def _peek(self, key: str) -> tuple[int, float]:
        return self._look(key) if self.local else await self._ahead.look(key)

    def _look(self, key: str) -> tuple[int, float]:
        return self._storage.get(key), self._storage.get_expiry(key)

    def _count_in_two(self, key: str, expiry: int, amount: int) -> tuple[int, float]:
        return self._storage.incr(key, expiry, amount), self._storage.get_expiry(key)


def _rate(item: RateLimitItem, hits: int, reset: float, coming: int = 0) -> Rate:
    return Rate(item.amount, max(0, item.amount - hits), reset, item.get_expiry(), hits + coming <= item.amount)


def _tightness(rate: Rate) -> tuple[bool, int]:
    return rate.allowed, rate.remaining


def exceeded(rate: Rate, what: str = "Rate limit") -> Problem:
    """429 with the wait in the sentence and in `Retry-After`."""
    wait = rate.retry_after
    return Problem(429, f"{what} exceeded. Retry after {wait}s.", headers={"retry-after": str(wait)})


# The header families a dialect may promise, as functions of the rate (IETF draft-10 for the unprefixed two).
HEADERS: Mapping[str, Callable[[Rate], str]] = {
    "X-RateLimit-Limit": lambda r: str(r.limit),
    "X-RateLimit-Remaining": lambda r: str(r.remaining),
    "X-RateLimit-Reset": lambda r: str(math.ceil(r.reset)),
    "RateLimit-Policy": lambda r: f'"default";q={r.limit};w={r.window}',
    "RateLimit": lambda r: f'"default";r={r.remaining};t={r.retry_after}',
}
