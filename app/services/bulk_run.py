"""Carries bulk jobs out: each record in a transaction of its own, which marks it too, so that none is done twice."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.engine import Context
from app.problems import Problem
from app.services import bulk
from app.services.bulk import Carry
from models.base import transaction

log = logging.getLogger("yardmaster.bulk")
# SQLite's writers do not queue: they look again after up to 100 ms, and would find the lock taken each time.
PAUSE_S = 0.01


@dataclass(frozen=True, slots=True)
class BulkRun:
    """The engine's task of a bulk job; `carriers` carry its records out, by the kind of the job."""

    engine: Engine
    carriers: Mapping[str, Carry]

    def __call__(self, key: str, context: Context) -> None:
        """Carry out what is left of a job, with a pause after each record so that other writers get their turn."""
        while self._carry_out_next(key):
            context.pause(PAUSE_S)

    def sweep(self, _context: Context) -> None:
        """Delete the jobs that ended a day ago."""
        with transaction(self.engine):
            bulk.sweep()

    def _carry_out_next(self, uid: str) -> bool:
        try:
            with transaction(self.engine):
                return bulk.carry_out_next(uid, self.carriers)
        except (OperationalError, PoolTimeout):
            raise  # the database's trouble, not the record's: the engine tries again
        except Exception as error:
            log.exception("a record of bulk job %s broke: %s", uid, type(error).__name__)
        with transaction(self.engine):
            bulk.fail_next(uid, Problem(500, "The server failed on this record"))
        return True
