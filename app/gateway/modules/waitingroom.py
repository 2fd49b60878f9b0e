"""The waiting room: one worker's calls that wait for a person, looked after by one task while there are any."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Engine

from app.gateway.deadline import Deadline
from app.services import held_calls
from app.services.draining import Drain
from app.services.held_calls import LEASE, Fate
from models.approvals import ABANDONED, WAITING

log = logging.getLogger("yardmaster.approvals")
# A decision is to reach a call within a second, wherever it was taken.
LOOK_S: Final = 0.25
KEEP_S: Final = LEASE.total_seconds() / 4
# Given up by others than its caller.
STOPPED, GONE = "stopped", "gone"


class Room:
    """Each call waits for its row to change. What ends without a decision is given up in the database, too."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: dict[int, asyncio.Future[Fate]] = {}
        self._left: set[int] = set()
        self._task: asyncio.Task[None] | None = None
        self._drain = Drain(self.close)
        self._closing = False
        self._kept = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    async def fate(self, number: int, seconds: float) -> Fate:
        """What became of a call: a decision, or the end of its time. Whoever is cancelled here gives it up."""
        loop = asyncio.get_running_loop()
        decided: asyncio.Future[Fate] = loop.create_future()
        self._waiting[number] = decided
        self._begin()
        if self._closing:
            self._stop(number, decided)
        try:
            with Deadline(seconds):
                return await decided
        except TimeoutError:
            return await asyncio.to_thread(held_calls.expire, self._engine, number) or Fate(number, GONE)
        except asyncio.CancelledError:
            self._left.add(number)
            raise
        finally:
            del self._waiting[number]

    def close(self) -> None:
        """Let nobody wait any longer: the server is about to stop."""
        self._closing = True
        for number, decided in self._waiting.items():
            self._stop(number, decided)

    def _stop(self, number: int, decided: asyncio.Future[Fate]) -> None:
        if not decided.done():
            decided.set_result(Fate(number, STOPPED))
            self._left.add(number)

    async def stop(self) -> None:
        """Give up what is left."""
        self.close()
        self._drain.unwatch()
        if self._left:
            self._begin()
        if self._task:
            await self._task

    def _begin(self) -> None:
        self._drain.watch()
        if self._task is None:
            self._kept = time.monotonic()
            self._task = asyncio.get_running_loop().create_task(self._look_on())

    async def _look_on(self) -> None:
        try:
            while self._waiting or self._left:
                await self._turn()
                await asyncio.sleep(LOOK_S)
        finally:
            self._task = None

    async def _turn(self) -> None:
        """Tell the database who is left and who is gone, and those who wait what became of them."""
        numbers = [number for number, decided in self._waiting.items() if not decided.done()]
        left = list(self._left)
        try:
            found = await asyncio.to_thread(self._told, numbers, left)
        except Exception as error:  # noqa: BLE001 (whatever it is, the next turn may fare better)
            log.warning("nothing is known of %d calls that wait: %s", len(numbers), type(error).__name__)
            if self._closing:  # their rows lapse
                self._left.clear()
            return
        self._left.difference_update(left)
        for fate in found:
            decided = self._waiting.get(fate.id)
            if decided is not None and not decided.done() and fate.status not in {WAITING, ABANDONED}:
                decided.set_result(fate)

    def _told(self, numbers: Sequence[int], left: Sequence[int]) -> list[Fate]:
        if left:
            held_calls.leave(self._engine, left)
        if numbers and time.monotonic() - self._kept >= KEEP_S:
            held_calls.keep(self._engine, numbers)
            self._kept = time.monotonic()
        known = held_calls.look(self._engine, numbers) if numbers else {}
        return [known.get(number, Fate(number, GONE)) for number in numbers]
