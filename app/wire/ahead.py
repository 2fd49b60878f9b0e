"""Hits that a worker takes ahead of a count it shares with others, so that not every request asks the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

T = TypeVar("T")

# Counts so many hits under a key in a window of so many seconds: the hits so far, and when the window ends.
Count = Callable[[str, int, int], tuple[int, float]]
# The same without counting.
Look = Callable[[str], tuple[int, float]]
# A worker takes no more ahead than this part of the limit, and than this part of what is left of it.
SHARE: Final = 50
TAPER: Final = 8
# How long what was looked up without counting is believed.
BELIEVED_S: Final = 1.0
MOST_KEYS: Final = 10_000


@dataclass(slots=True)
class Block:
    """Hits taken at once: `hits` is the count with all of them, `left` how many are not used yet."""

    hits: int
    left: int
    size: int
    ends: float


class Ahead:
    """Counts in blocks, which grow while a key is hit often, and shrink to single hits as its limit comes near.

    N workers so never admit more than the limit together, and never refuse before all but (N-1)/50 of it are used. A
    limit that is spent is not asked about again until its window ends.
    """

    def __init__(self, count: Count, look: Look) -> None:
        self._count, self._look = count, look
        self._blocks: dict[str, Block] = {}
        self._asking: dict[str, asyncio.Future[None]] = {}
        self._waiting: dict[str, int] = {}
        self._looked: dict[str, tuple[float, int, float]] = {}

    async def count(self, key: str, expiry: int, limit: int) -> tuple[int, float]:
        """Count one hit in the window of `expiry` seconds: the hits so far, and when it ends (epoch seconds)."""
        while (block := self._running(key)) is None or (not block.left and block.hits <= limit):
            await self._refilled(key, expiry, limit)
        if block.left:
            block.left -= 1
        return block.hits - block.left, block.ends

    async def look(self, key: str) -> tuple[int, float]:
        """The hits so far, as they were known within the last second."""
        if block := self._running(key):
            return block.hits - block.left, block.ends
        moment = time.time()
        until, *known = self._looked.get(key, (0.0, 0, 0.0))
        if moment >= until:
            known = list(await asyncio.to_thread(self._look, key))
            _forget(self._looked, lambda entry: entry[0] < moment)
            self._looked[key] = (moment + BELIEVED_S, int(known[0]), known[1])
        return int(known[0]), known[1]

    def _running(self, key: str) -> Block | None:
        block = self._blocks.get(key)
        return block if block and block.ends > time.time() else None

    async def _refilled(self, key: str, expiry: int, limit: int) -> None:
        """One asks for all that wait: whoever comes meanwhile is counted with the next block."""
        self._waiting[key] = self._waiting.get(key, 0) + 1
        try:
            if key not in self._asking:
                self._asking[key] = asyncio.ensure_future(self._ask(key, expiry, limit))
            await asyncio.shield(self._asking[key])
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]

    async def _ask(self, key: str, expiry: int, limit: int) -> None:
        size = max(self._waiting.get(key, 0), self._next_size(key, limit))
        try:
            hits, ends = await asyncio.to_thread(self._count, key, expiry, size)
        finally:
            del self._asking[key]
        _forget(self._blocks, lambda block: block.ends < time.time())
        self._blocks[key] = Block(hits, size, size, ends)

    def _next_size(self, key: str, limit: int) -> int:
        before = self._running(key)
        return max(1, min(2 * before.size, limit // SHARE, (limit - before.hits) // TAPER)) if before else 1


def _forget(known: dict[str, T], over: Callable[[T], bool]) -> None:
    """Make room among too many keys: first of those that are over, then of all; what is lost was only taken ahead."""
    if len(known) < MOST_KEYS:
        return
    for key in [key for key, entry in known.items() if over(entry)]:
        del known[key]
    if len(known) >= MOST_KEYS:
        known.clear()
