"""Notices a client that hangs up on a slow plain call, and stops the call upstream."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from app.wire.call import Call

LOOK_S = 0.25
# A call that so many looks have met is not quick: about a second.
PATIENCE_LOOKS = 4


class Lookout:
    """The plain calls of a worker that wait for a provider, oldest first.

    Quick ones are never watched, and one timer looks after all of them: a timer and a watcher for each call cost more
    than most of what the gateway does with it.
    """

    def __init__(self) -> None:
        self._waiting: dict[HangUp, int] = {}
        self._looks = 0
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, call: Call) -> HangUp:
        """Cancels the current task, while open, when the call's client goes away."""
        return HangUp(self, call)

    def add(self, hang_up: HangUp) -> None:
        """A call begins to wait."""
        self._waiting[hang_up] = self._looks
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def drop(self, hang_up: HangUp) -> None:
        """It waits no more."""
        self._waiting.pop(hang_up, None)

    def _look(self) -> None:
        """Begin to watch the calls that have waited too long to be quick."""
        self._looks += 1
        limit = self._looks - PATIENCE_LOOKS
        while self._waiting and self._waiting[oldest := next(iter(self._waiting))] <= limit:
            del self._waiting[oldest]
            oldest.begin()
        again = asyncio.get_running_loop().call_later
        self._timer = again(LOOK_S, self._look) if self._waiting else None


class HangUp:
    """One call's watch."""

    __slots__ = ("_call", "_lookout", "_task", "_watch", "happened")

    def __init__(self, lookout: Lookout, call: Call) -> None:
        self._lookout = lookout
        self._call = call
        self._task: asyncio.Task[object] | None = None
        self._watch: asyncio.Task[None] | None = None
        self.happened = False

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        if self._call.receive is not None:
            self._lookout.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lookout.drop(self)
        if self._watch:
            self._watch.cancel()

    def caught(self) -> bool:
        """Whether a cancellation was the client's doing; it is spent then, and the task may go on."""
        if self.happened and self._task:
            self._task.uncancel()
        return self.happened

    def begin(self) -> None:
        """Watch from here on."""
        self._watch = asyncio.ensure_future(self._wait())

    async def _wait(self) -> None:
        receive = self._call.receive
        while receive is not None and (await receive())["type"] != "http.disconnect":
            pass
        self.happened = True
        if self._task:
            self._task.cancel()
