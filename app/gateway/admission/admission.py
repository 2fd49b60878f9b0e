"""A call's way out to a provider of this server: first a place, then key after key until one is not refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from app.gateway.admission.places import Places
from app.gateway.admission.pool import Pool, PooledKey, refused_key
from app.gateway.failures import FailureError
from app.gateway.wire import Target

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange

T = TypeVar("T")
Attempt = Callable[[Target], Awaitable[T]]
Go = Callable[[Target, Attempt[T]], Awaitable[T]]
# A pool may hold a thousand keys; a call must not be refused a thousand times.
MOST_KEYS = 10


@dataclass(frozen=True, slots=True)
class Admission:
    """What a provider asks of a call: either, or both; where it is neither there is no admission."""

    places: Places | None = None
    pool: Pool | None = None

    async def through(self, exchange: Exchange, target: Target, attempt: Attempt[T], go: Go[T]) -> T:
        """What `go` makes of the target and the attempt. A success keeps its place and key until it is settled."""
        if self.places is None:
            return await self._keyed(exchange, target, attempt, go)
        await self.places.enter(exchange.project)
        try:
            result = await self._keyed(exchange, target, attempt, go)
        except BaseException:
            self.places.leave()
            raise
        exchange.after(self.places.leave)
        return result

    async def _keyed(self, exchange: Exchange, target: Target, attempt: Attempt[T], go: Go[T]) -> T:
        pool = self.pool
        if pool is None:
            return await go(target, attempt)
        tried: list[PooledKey] = []
        while (key := pool.take(tried)) is not None:
            tried.append(key)
            try:
                result = await go(replace(target, key=key.secret), partial(_asked, attempt))
            except FailureError as failure:
                pool.leave(key)
                if not (status := refused_key(failure)):
                    raise
                pool.rest(key, status, failure.wait)
                if len(tried) == MOST_KEYS:
                    raise
                continue
            except BaseException:
                pool.leave(key)
                raise
            exchange.details["keypool"] = key.name
            exchange.after(partial(pool.leave, key))
            return result
        raise pool.exhausted()


async def _asked(attempt: Attempt[T], target: Target) -> T:
    """An attempt whose refused key is neither tried again at once nor held against the provider."""
    try:
        return await attempt(target)
    except FailureError as failure:
        if refused_key(failure):
            failure.again = failure.faulty = False
        raise
