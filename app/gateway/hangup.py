"""Notices a client that hangs up on a slow plain call, and stops the call upstream."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from app.wire.call import Call

PATIENCE_S = 1.0


class HangUp:
    """While open, cancels the current task when the client goes away. Quick calls are never watched: it costs."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._task: asyncio.Task[object] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.happened = False

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        if self._call.receive is not None:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer:
            self._timer.cancel()
        if self._watch:
            self._watch.cancel()

    def caught(self) -> bool:
        """Whether a cancellation was the client's doing; it is spent then, and the task may go on."""
        if self.happened and self._task:
            self._task.uncancel()
        return self.happened

    def _begin(self) -> None:
        self._watch = asyncio.ensure_future(self._wait())

    async def _wait(self) -> None:
        receive = self._call.receive
        while receive is not None and (await receive())["type"] != "http.disconnect":
            pass
        self.happened = True
        if self._task:
            self._task.cancel()
