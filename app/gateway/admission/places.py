"""The places at one provider: so many calls under way at once, and a short line of those that wait, urgent first."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, Final

from app.gateway.deadline import Deadline
from app.gateway.failures import FailureError
from app.problems import Problem

RANKS: Final = {"high": 0, "normal": 1, "low": 2}
Waiting = asyncio.Future[None]


class Places:
    """One provider's places in one worker; their number may change while calls are under way."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._line: list[tuple[int, int, Waiting]] = []
        self._number = count()
        self.under_way = self.waiting = self.waited = self.refused = 0

    def configure(self, at_once: int, settings: Mapping[str, Any], wait: float) -> None:
        """Take over how many calls may be under way, how many may wait and how long, in seconds."""
        self.at_once, self._most_waiting, self._wait = at_once, settings["max_waiting"], wait
        self._ranks = {entry["project"]: RANKS[entry["class"]] for entry in settings["classes"]}
        self._default = RANKS[settings["default_class"]]

    async def enter(self, project: str) -> None:
        """Take a place, to be given back with `leave`; FailureError when none is free in time."""
        if self.under_way < self.at_once and not self.waiting:
            self.under_way += 1
            return
        if self.waiting >= self._most_waiting:
            raise self._full()
        await self._queue(self._ranks.get(project, self._default))

    async def _queue(self, rank: int) -> None:
        called: Waiting = asyncio.get_running_loop().create_future()
        heappush(self._line, (rank, next(self._number), called))
        self.waiting += 1
        self.waited += 1
        try:
            with Deadline(self._wait):
                await called
        except TimeoutError:
            self._give_up(called)
            raise self._full() from None
        except BaseException:
            self._give_up(called)
            raise

    def _give_up(self, called: Waiting) -> None:
        """Leave the line; a place that was granted in the same moment goes to the next."""
        if called.done() and not called.cancelled():
            self.leave()
            return
        self.waiting -= 1
        self._line = [waiting for waiting in self._line if waiting[2] is not called]
        heapify(self._line)

    def leave(self) -> None:
        """Give a place back; whoever is next gets it."""
        self.under_way -= 1
        while self._line and self.under_way < self.at_once:
            called = heappop(self._line)[2]
            if called.cancelled():  # it gives up in this moment
                continue
            self.waiting -= 1
            self.under_way += 1
            called.set_result(None)

    def _full(self) -> FailureError:
        self.refused += 1
        message = f"All {self.at_once} places at {self._provider} are taken, and none came free in time"
        details = {"provider": self._provider, "reason": "queuepriority"}
        problem = Problem(503, message, details=details, headers={"retry-after": "1"})
        return FailureError(problem, faulty=False, unasked=True)

    def stats(self) -> dict[str, int]:
        """How full it is, and how often somebody waited or was refused."""
        names = ("at_once", "under_way", "waiting", "waited", "refused")
        return {name: getattr(self, name) for name in names}
