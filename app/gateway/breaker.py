"""Circuit breakers: a provider that keeps failing is left alone, then probed by one call."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"


@dataclass(slots=True)
class Breaker:
    """One provider's circuit. Consecutive failures open it; after `recovery` seconds one probe decides."""

    threshold: int = 5
    recovery: float = 30.0
    clock: Callable[[], float] = time.monotonic
    failures: int = 0
    _opened_at: float | None = None
    _probing_since: float | None = None

    @property
    def state(self) -> str:
        """`closed`, `open` or `half_open`."""
        if self._opened_at is None:
            return CLOSED
        return OPEN if self.clock() < self._opened_at + self.recovery else HALF_OPEN

    def admits(self) -> bool:
        """Whether a call may go out now; in the half-open state only one may, until its result is in."""
        state = self.state
        if state != HALF_OPEN:
            return state == CLOSED
        now = self.clock()
        if self._probing_since is not None and now < self._probing_since + self.recovery:
            return False
        self._probing_since = now  # a probe whose result never came back stops counting after the recovery time
        return True

    def retry_after(self) -> float:
        """Seconds until the next probe."""
        return max(0.0, (self._opened_at or 0.0) + self.recovery - self.clock())

    def succeeded(self) -> None:
        """A call was answered: the circuit is whole."""
        if self.failures or self._opened_at is not None:
            self.failures, self._opened_at, self._probing_since = 0, None, None

    def failed(self) -> None:
        """A call failed in a way that is the provider's fault."""
        self.failures += 1
        self._probing_since = None
        if self.failures >= self.threshold or self._opened_at is not None:
            self._opened_at = self.clock()

    def released(self) -> None:
        """A call ended without a verdict (the caller hung up): a probe of it must not hold the circuit."""
        self._probing_since = None
