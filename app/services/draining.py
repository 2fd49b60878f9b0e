"""Tells endless streams that the server is about to stop, for it waits for them before it says so itself."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)
Handler = Callable[[int, FrameType | None], object] | int | None


class Drain:
    """Calls `tell` in the running loop when the process is asked to end; whoever handled the signal still does.

    An event loop reads signals from a file descriptor, so a handler put beside its own takes nothing away from it.
    """

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._loop: asyncio.AbstractEventLoop | None = None
        self._before: dict[int, Handler] = {}

    def watch(self) -> None:
        """Begin; only a main thread hears signals, elsewhere (a test's server in a thread) this does nothing."""
        if self._before or threading.current_thread() is not threading.main_thread():
            return
        self._loop = asyncio.get_running_loop()
        self._before = {number: signal.signal(number, self._heard) for number in SIGNALS}

    def unwatch(self) -> None:
        """End, leaving the handlers as they were."""
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._heard:
                signal.signal(number, handler)
        self._before = {}

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell)
        before = self._before.get(number)
        if callable(before):
            before(number, frame)
