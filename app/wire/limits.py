"""Rate limits: how the document writes them, where they are counted, and which headers tell of them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter, RateLimiter

from app.problems import Problem


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
        """Whole seconds until the window ends, at least one."""
        return max(1, math.ceil(self.reset - time.time()))


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
    """Counts hits against rules in one store; without a strategy, limits are switched off."""

    def __init__(self, strategy: RateLimiter | None) -> None:
        self.enabled = strategy is not None
        self._strategy = strategy or FixedWindowRateLimiter(MemoryStorage())
        self.local = isinstance(self._strategy.storage, MemoryStorage)

    async def hit(self, rule: Rule, *key: str) -> Rate:
        """Count one hit; the tightest of the rule's amounts, with `allowed` false when one is spent."""
        return await self._run(self._hit, rule, key)

    async def peek(self, rule: Rule, *key: str) -> Rate:
        """The same without counting."""
        return await self._run(self._peek, rule, key)

    async def _run(self, count: Callable[[Rule, tuple[str, ...]], Rate], rule: Rule, key: tuple[str, ...]) -> Rate:
        """Memory answers at once; a shared store may wait, and must not make the event loop wait with it."""
        return count(rule, key) if self.local else await asyncio.to_thread(count, rule, key)

    def _hit(self, rule: Rule, key: tuple[str, ...]) -> Rate:
        return min((self._one(i, key, self._strategy.hit(i, *key)) for i in rule.items), key=_tightness)

    def _peek(self, rule: Rule, key: tuple[str, ...]) -> Rate:
        return min((self._one(i, key, self._strategy.test(i, *key)) for i in rule.items), key=_tightness)

    def _one(self, item: RateLimitItem, key: tuple[str, ...], allowed: bool) -> Rate:
        stats = self._strategy.get_window_stats(item, *key)
        return Rate(item.amount, max(0, stats.remaining), stats.reset_time, item.get_expiry(), allowed)


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
