"""What a task is given to work with: its steps, whether its end was asked for, and when to make way."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass, field
from threading import Event
from typing import Any, TypeVar

# How old an answer to `cancelled()` may be; with it and the handler's commit, an end is heard of within a second.
ASK_EVERY_S = 0.5
LOOK_S = 0.2
# Shorter than an engine that ends waits for its tasks.
GRACE_S = 8.0
T = TypeVar("T")


class Stopping(BaseException):
    """This worker is about to end, or another one has the task: let it pass. The task goes on elsewhere.

    Like KeyboardInterrupt it is no Exception, so that what catches those does not stop it.
    """


class Broken(BaseException):
    """Carries what a step raised past DBOS, which would record it as the step's outcome."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


@dataclass(slots=True)
class Context:
    """A running task, and a schedule's turn alike.

    `id` names the work and stays the same however often it is begun: send it along as an idempotency key.
    """

    id: str
    stopping: Event
    ask: Callable[[], bool]
    record: Callable[[str, Callable[[], Any]], Any]
    done: dict[str, Any] = field(default_factory=dict)
    _cancelled: bool = False
    _asked: float = float("-inf")

    def cancelled(self) -> bool:
        """Whether the task's end was asked for; cheap enough to call for every row. Stopping when to make way."""
        self.make_way()
        if not self._cancelled and time.monotonic() - self._asked >= ASK_EVERY_S:
            self._cancelled = self.ask()
            self._asked = time.monotonic()
        return self._cancelled

    def step(self, name: str, function: Callable[[], Any]) -> Any:
        """Run the function and record what it returned, or return what it did before the last crash.

        Steps are known by name, in whatever order they come. What they return must be JSON, and small. One that raises
        is not recorded. Stopping when to make way.
        """
        if name in self.done:
            return self.done[name]
        self.make_way()
        try:
            self.done[name] = self.record(name, lambda: _carried(function))
        except Broken as broken:
            raise broken.error from None
        return self.done[name]

    def pause(self, seconds: float) -> None:
        """Wait; Stopping when to make way."""
        self.stopping.wait(seconds)
        self.make_way()

    def outcome(self, going: Future[T]) -> T:
        """What comes of work that is done elsewhere; Stopping when it was called off.

        A worker about to end waits for some seconds more: what another begins anew may be paid twice.
        """
        while not self.stopping.is_set() and not wait([going], LOOK_S).done:
            pass
        if not wait([going], GRACE_S).done:
            going.cancel()
        try:
            return going.result()
        except CancelledError:
            raise Stopping from None

    def make_way(self) -> None:
        """Stopping when to make way."""
        if self.stopping.is_set():
            raise Stopping


def _carried(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Exception as error:
        raise Broken(error) from error
