"""Silence: tells a reader that it has waited for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Silence:
    """Wakes whoever waits for `tick` seconds. One timer for a whole stream, moved when it rings, not at every piece."""

    __slots__ = ("_loop", "_rung", "_tick", "_timer", "_waiting_since", "_wake")

    def __init__(self, tick: float, wake: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._tick, self._wake = tick, wake
        self._rung = False
        self._waiting_since = 0.0
        self._timer = self._loop.call_later(tick, self._ring)

    def begin(self) -> None:
        """The reader waits from now on."""
        self._rung = False
        self._waiting_since = self._loop.time()

    def interrupt(self) -> None:
        """The reader waits no more."""
        self._waiting_since = 0.0

    def take(self) -> bool:
        """Whether it was the silence that woke the reader; told once."""
        rung, self._rung = self._rung, False
        return rung

    def end(self) -> None:
        """Wake nobody any more."""
        self._timer.cancel()

    def _ring(self) -> None:
        left = self._tick
        if self._waiting_since:
            left += self._waiting_since - self._loop.time()
            if left <= 0:
                self._rung, left = True, self._tick
                self._wake()
        self._timer = self._loop.call_later(left, self._ring)
