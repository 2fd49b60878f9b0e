"""Calls alike that are under way at once: the first asks, the others wait for what it gets."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flight:
    """The call that asks, and the end of it."""

    id: str
    ended: asyncio.Future[None]


class Flights:
    """One worker's. A call that never tells of its end holds nobody up for longer than they are ready to wait."""

    def __init__(self) -> None:
        self.under_way: dict[bytes, Flight] = {}

    async def waited(self, key: bytes, id_: str, until: float) -> bool:
        """Whether one like this ended meanwhile; False when this one is the one to ask, until it has `landed`."""
        first = self.under_way.get(key)
        if first is not None:
            done, _ = await asyncio.wait((first.ended,), timeout=max(0.0, until - time.monotonic()))
            if done:
                return True
        self.under_way[key] = Flight(id_, asyncio.get_running_loop().create_future())
        return False

    def landed(self, key: bytes, id_: str) -> None:
        """The call is over. Who waited looks a moment later, when its answer is kept."""
        flight = self.under_way.get(key)
        if flight is not None and flight.id == id_:
            del self.under_way[key]
            flight.ended.set_result(None)
