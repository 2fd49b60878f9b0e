"""Retention of answers kept under an `Idempotency-Key`: they go after a day, or before when there are too many."""

from __future__ import annotations

import logging
from typing import Final

from sqlalchemy import Engine

from app.engine import Context
from app.gateway.idempotency.store import BATCH, Store
from models.base import now

log = logging.getLogger("yardmaster.idempotency")
EVERY_S: Final = 600.0
PAUSE_S: Final = 0.05


class Sweep:
    """The engine's turn that deletes them, a few at a time."""

    def __init__(self, engine: Engine, *, pause_s: float = PAUSE_S) -> None:
        self._store, self._pause_s = Store(engine), pause_s

    def __call__(self, context: Context) -> None:
        """Delete what is over, and tell how much went."""
        gone = last = self._store.sweep(now())
        while last >= BATCH:
            context.pause(self._pause_s)
            last = self._store.sweep(now())
            gone += last
        if gone:
            log.info("deleted %d answers past their keeping", gone)
