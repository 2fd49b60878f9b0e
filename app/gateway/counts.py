"""Counts that all workers share and a restart does not forget: calls and money under a key, in Redis or the database.

They are the stores that limits count in, asked for by modules: one that guards money must hold whether limits are
switched on or not, and whether this worker is alone or not.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import cached_property
from typing import Final, Protocol

from sqlalchemy import Engine

from app.problems import Problem
from app.settings import Settings
from app.wire.shared_storage import DatabaseStorage

log = logging.getLogger("yardmaster.counts")
# What could not be brought to the store is held there until its window ends, which only refuses too much.
MOST_LATE: Final = 10_000
Change = tuple[str, int, int]


class Store(Protocol):
    """Counts under keys, each for some seconds from its first hit."""

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        """What it raises when it does not answer."""

    def count(self, key: str, expiry: int, amount: int = 1) -> tuple[int, float]:
        """Add `amount`, at once and alone: the count so far, and when it ends in epoch seconds."""


class Counts:
    """One worker's way to them. The store is made when the first module counts."""

    def __init__(self, make: Callable[[], Store]) -> None:
        self._make = make
        self._late: deque[Change] = deque(maxlen=MOST_LATE)
        self._turn: asyncio.Task[None] | None = None

    @cached_property
    def _store(self) -> Store:
        return self._make()

    async def add(self, key: str, seconds: int, amount: int = 1) -> tuple[int, float]:
        """The count with this in it, and when it ends (epoch seconds); Problem 503 when the store does not answer."""
        try:
            return await asyncio.to_thread(self._store.count, key, seconds, amount)
        except self._store.base_exceptions as error:
            log.warning("nothing can be counted: %s", type(error).__name__)
            message = "The counts of this call cannot be checked at the moment; it was not made"
            raise Problem(503, message, headers={"retry-after": "1"}) from error

    def later(self, key: str, seconds: int, amount: int) -> None:
        """Add it beside the calls; what the store does not take is brought again with the next."""
        self._late.append((key, seconds, amount))
        if self._turn is None:
            self._turn = asyncio.get_running_loop().create_task(self._bring())

    async def flush(self) -> None:
        """Bring what is left, once."""
        if self._late and self._turn is None:
            self._turn = asyncio.get_running_loop().create_task(self._bring())
        if self._turn:
            await self._turn

    async def _bring(self) -> None:
        try:
            while self._late:
                await self._bring_one(self._late.popleft())
        except Exception as error:  # noqa: BLE001 (a store away for a moment must not end anything)
            log.warning("%d counts wait: %s", len(self._late), type(error).__name__)
        finally:
            self._turn = None

    async def _bring_one(self, change: Change) -> None:
        try:
            await asyncio.to_thread(self._store.count, *change)
        except BaseException:
            self._late.appendleft(change)
            raise


def counts_of(engine: Engine, settings: Settings) -> Counts:
    """The counts in the store the settings name: Redis with the database standing by, or the database."""

    def make() -> Store:
        if not settings.redis_url:
            return DatabaseStorage(engine=engine)
        from app.wire.redis_storage import StandbyStorage  # noqa: PLC0415 (Redis' client is an extra)

        return StandbyStorage(redis_url=settings.redis_url, engine=engine)

    return Counts(make)
