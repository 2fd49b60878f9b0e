"""Stream cache: a kept answer is replayed as a stream at a reader's pace, not all at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.gateway.exchange import Exchange
from app.gateway.modules.streamthrottle import Throttle
from app.gateway.steps import Module, Steps

# The first word may leave at once.
BURST_TOKENS = 1.0


class Streamcache(Module):
    """Only of answers that the cache had: what a provider writes has a pace of its own."""

    COUNTS = ("replayed",)

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """One pace for every replay; 0 leaves them at once."""
        speed = settings["replay_speed"]

        def replay(_exchange: Exchange) -> Throttle:
            self.counted["replayed"] += 1
            return Throttle(speed, BURST_TOKENS, lambda _: None)

        return Steps(replay=replay if speed else None)
