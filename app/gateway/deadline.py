"""A deadline for what a task waits for: `asyncio.timeout` at less than half its cost, for the path every call takes."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Deadline:
    """While open, cancels the current task after so many seconds; that cancellation leaves it as TimeoutError."""

    __slots__ = ("_cancelling", "_seconds", "_task", "_timer", "passed")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.passed = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline is kept inside a task")
        self._task, self._cancelling = task, task.cancelling()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._pass)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        # A task that somebody else cancelled as well must not go on: its cancellation is left as it is.
        if self.passed and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _pass(self) -> None:
        self.passed = True
        self._task.cancel()
