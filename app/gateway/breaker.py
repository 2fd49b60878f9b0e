"""Circuit breakers: a provider that keeps failing is left alone, then probed by one call."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"


def untold(_opened: bool, _failures: int) -> None:
    """Nobody listens."""


@dataclass(slots=True)
class Breaker:
    """One provider's circuit. Consecutive failures open it; after `recovery` seconds one probe decides.

    While it is not closed only the probe's verdict counts: calls that went out before it opened prove nothing new.
    """

    threshold: int = 5
    recovery: float = 30.0
    clock: Callable[[], float] = time.monotonic
    failures: int = 0
    tell: Callable[[bool, int], None] = untold
    _opened_at: float | None = None
    _probe: Passage | None = None
    _probing_since: float = 0.0
    # The leave of every call while the circuit is closed: only a probe's is told from the others.
    _ordinary: Passage = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make the common leave once."""
        self._ordinary = Passage(self)

    @property
    def state(self) -> str:
        """`closed`, `open` or `half_open`."""
        if self._opened_at is None:
            return CLOSED
        return OPEN if self.clock() < self._opened_at + self.recovery else HALF_OPEN

    def admit(self) -> Passage | None:
        """Leave for one call to go out, None while there is none; in the half-open state only one gets it at a time."""
        state = self.state
        if state == CLOSED:
            return self._ordinary
        now = self.clock()
        # A probe whose result never came back stops counting after the recovery time.
        probing = self._probe is not None and now < self._probing_since + self.recovery
        if state == OPEN or probing:
            return None
        self._probe, self._probing_since = Passage(self), now
        return self._probe

    def retry_after(self) -> float:
        """Seconds until the next probe."""
        return max(0.0, (self._opened_at or 0.0) + self.recovery - self.clock())

    def judge(self, passage: Passage, *, failed: bool) -> None:
        """Count a call's verdict: `failed` when it is the provider's fault."""
        if self._opened_at is not None and passage is not self._probe:
            return
        self._probe = None
        self.failures = self.failures + 1 if failed else 0
        was_open = self._opened_at is not None
        opens = failed and (was_open or self.failures >= self.threshold)
        self._opened_at = self.clock() if opens else None
        if opens != was_open:
            self.tell(opens, self.failures)

    def release(self, passage: Passage) -> None:
        """A call ended without a verdict (the caller hung up): a probe of it must not hold the circuit."""
        if passage is self._probe:
            self._probe = None


@dataclass(eq=False, frozen=True, slots=True)
class Passage:
    """One call's leave to go out; its end is told to the circuit."""

    breaker: Breaker

    def succeeded(self) -> None:
        """The provider answered, be it with a refusal of the request."""
        self.breaker.judge(self, failed=False)

    def failed(self) -> None:
        """The call failed in a way that is the provider's fault."""
        self.breaker.judge(self, failed=True)

    def released(self) -> None:
        """Nothing was learnt."""
        self.breaker.release(self)
