"""What one worker's gateway counted of the calls it settled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.observe.meter import CallMeter

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange


@dataclass(slots=True)
class Tally:
    """Counters since the worker's start. `repeated` are attempts beyond a call's first, there or elsewhere.

    `*_nano` are nano-dollars; a call of unknown price is counted, never guessed.
    """

    renamed: int = 0
    settled: int = 0
    failed: int = 0
    attempts: int = 0
    repeated: int = 0
    unpriced: int = 0
    spent_nano: int = 0
    saved_nano: int = 0
    meter: CallMeter = field(default_factory=CallMeter)

    def count(self, exchange: Exchange) -> None:
        """Add a settled call."""
        self.meter.count(exchange)
        self.settled += 1
        self.failed += exchange.status == "error"
        self.attempts += exchange.attempts
        self.repeated += max(0, exchange.attempts - 1)
        self.saved_nano += exchange.saved_nano
        if exchange.cost_nano is None:
            self.unpriced += 1
        else:
            self.spent_nano += exchange.cost_nano
