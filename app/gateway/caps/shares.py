"""How much of budgets is spent, as the database said a moment ago: for choices, not for holding anybody to them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Iterable
from typing import Final

from sqlalchemy import Engine

from app.services.spending.counters import Key, read
from models.base import transaction

FRESH_S: Final = 1.0
MOST_KNOWN: Final = 10_000


class Shares:
    """One worker's. A counter that no call was held against yet counts as empty."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine, self.clock = engine, clock
        self._known: dict[Key, tuple[int, float]] = {}

    async def fullest(self, counters: Iterable[tuple[Key, int]]) -> float:
        """The largest share that is spent of these budgets, counters with the most each may reach; 0 for none."""
        budgets = list(counters)
        horizon = self.clock() - FRESH_S
        stale = {key for key, _ in budgets if self._known.get(key, (0, -math.inf))[1] <= horizon}
        if stale:
            self._remember(stale, await asyncio.to_thread(self._read, stale))
        return max((self._known.get(key, (0, 0.0))[0] / most for key, most in budgets), default=0.0)

    def _remember(self, asked: Collection[Key], spent: dict[Key, int]) -> None:
        if len(self._known) + len(asked) > MOST_KNOWN:
            self._known = {}
        moment = self.clock()
        self._known |= {key: (spent.get(key, 0), moment) for key in asked}

    def _read(self, keys: Collection[Key]) -> dict[Key, int]:
        with transaction(self._engine, write=False) as session:
            return {key: held.spent for key, held in read(session.connection(), keys).items()}
