"""Where the units of one job are worked on: what a thread needs for them, and when to put it down."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

from app.outbound.fetch import Fetcher
from app.services.row_jobs.contract import JobType, Tools
from app.services.row_jobs.logs import Line

Json = dict[str, Any]
# Units that wait for other servers are worked on so many at once; units that only compute, one after the other.
WIDTHS: Final = {"parallel": 1, "serial": 8}


class Workshop:
    """Works on units from one thread or several. On leaving it, threads that still work are told to stop."""

    def __init__(self, kind: JobType, params: Json, cancelled: Callable[[], bool], allowed: Sequence[str] = ()) -> None:
        self.width = WIDTHS[kind.lane]
        self._kind = kind
        self._params = params
        self._allowed = allowed
        self._left = threading.Event()
        self._notes: deque[str] = deque()
        self._own = threading.local()
        # A thread of its own cannot be interrupted by the engine, only told.
        self._cancelled = cancelled if self.width == 1 else self._left.is_set

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()

    def do(self, item: Json) -> list[Json]:
        """The rows of a unit; UnitFailed when it fails."""
        return list(self._kind.each(self._params, item, self._tools())) if self._kind.each else []

    def _tools(self) -> Tools:
        """Each thread has its own: a fetcher is not for several at once."""
        if not hasattr(self._own, "tools"):
            fetcher = Fetcher(self._allowed, cancelled=self._cancelled)
            self._own.tools = Tools(fetcher=fetcher, note=self._notes.append)
        tools: Tools = self._own.tools
        return tools

    def notes(self) -> list[Line]:
        """What units told the log since the last time."""
        return [Line("info", self._notes.popleft()) for _ in range(len(self._notes))]
