"""What observers take of newly stored calls, in the transaction that stores them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.engine import Context
from app.services.observing import alerts, canary, cells, costmap, exchange_log, measures, radar, spreads
from app.services.observing.switched import CANARY, switched
from app.services.trace_record import TraceRecord
from app.services.vault.opening import heard
from models.base import now, transaction


def observe(session: Session, rows: Sequence[TraceRecord]) -> None:
    """Hand the calls to whoever is switched on; one look at the settings when nobody is."""
    on = switched(session) if rows else {}
    if not on:
        return
    said = heard(session, rows) if "driftwatch" in on else rows
    spreads.add(session.connection(), measures.taken(said, on))
    if exchange_log.NAME in on:
        exchange_log.append(session, on[exchange_log.NAME], [row for row in rows if row.source == measures.REAL])
    if radar.NAME in on:
        radar.watch(session, on[radar.NAME], rows)
    if costmap.NAME in on:
        cells.keep(session, rows)
    if CANARY in on:
        canary.watch(session, on[CANARY], rows)


class Sweep:
    """The engine's turn that forgets what no observer looks at any more."""

    EVERY_S: ClassVar[float] = 3_600.0

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, _context: Context) -> None:
        """Delete it."""
        with transaction(self._engine) as session:
            spreads.forget(session, now())
            alerts.forget(session, now())
            radar.forget(session, now())
            cells.forget(session, now())
