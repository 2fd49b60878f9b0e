"""Looks after jobs that nobody reports on: those out of time, those no box can take, those that wait."""

from __future__ import annotations

from datetime import datetime

from app.engine.context import Context
from app.runtime import Runtime
from app.services.box_jobs import artifacts, reports
from app.services.storage import ArtifactStore
from models.base import now, transaction

EVERY_S = 1.0


class Overseer:
    """Has its turns from the engine; what two of them see at once is done once."""

    def __init__(self, held: Runtime, store: ArtifactStore) -> None:
        self._runtime = held
        self._store = store

    def __call__(self, _context: Context) -> None:
        """Do what is due now."""
        self.look(now())

    def look(self, moment: datetime) -> None:
        """Do what is due; nothing is written, and no lock taken, when nothing is."""
        engine = self._runtime.engine
        with transaction(engine, write=False):
            due, left = reports.is_any_due(moment), artifacts.left_behind(moment)
        if due:
            with transaction(engine):
                reports.time_out_overdue(moment)
                reports.fail_unplaceable()
                reports.mark_waiting()
        for uid in left:
            with transaction(engine):
                artifacts.give_up(uid, self._store)
