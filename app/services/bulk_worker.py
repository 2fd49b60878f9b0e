"""Works bulk jobs off beside the requests: one job at a time, whichever worker of the server takes it first."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Mapping

from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.problems import Problem
from app.runtime import Runtime
from app.services import bulk
from app.services.bulk import Carry, Lease
from models.base import transaction

log = logging.getLogger("yardmaster.bulk")
POLL_S = 0.5
SWEEP_S = 3600.0


class BulkWorker:
    """A thread that claims jobs and carries their records out, by the kind of the job."""

    def __init__(self, held: Runtime, carriers: Mapping[str, Carry]) -> None:
        self._runtime = held
        self._carriers = carriers
        self._owner = uuid.uuid4().hex
        self._stopping = threading.Event()
        self._swept = 0.0
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Begin working."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._work, name="bulk", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End after the record at hand; the job goes back for another worker to go on with."""
        self._stopping.set()
        if self._thread:
            await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                worked = self._work_once()
            except Exception as error:  # noqa: BLE001 (a database away for a moment must not end the work)
                log.warning("bulk jobs cannot be worked off: %s", type(error).__name__)
                worked = False
            if not worked:
                self._stopping.wait(POLL_S)

    def _work_once(self) -> bool:
        """Work a free job off; false when there is none."""
        engine = self._runtime.engine
        if time.monotonic() - self._swept > SWEEP_S or not self._swept:
            with transaction(engine):
                bulk.sweep()
            self._swept = time.monotonic()
        with transaction(engine, write=False):
            if not bulk.waiting():
                return False
        with transaction(engine):
            lease = bulk.claim(self._owner)
        if lease is None:
            return False
        self._carry_out(lease)
        return True

    def _carry_out(self, lease: Lease) -> None:
        while self._carry_out_next(lease):
            if self._stopping.is_set():
                with transaction(self._runtime.engine):
                    bulk.release(lease)
                return

    def _carry_out_next(self, lease: Lease) -> bool:
        try:
            with transaction(self._runtime.engine):
                return bulk.carry_out_next(lease, self._carriers[lease.kind])
        except (OperationalError, PoolTimeout):
            raise  # the database's trouble, not the record's: the lease runs out, and somebody tries again
        except Exception as error:
            log.exception("a record of bulk job %s broke: %s", lease.job_id, type(error).__name__)
        with transaction(self._runtime.engine):
            bulk.fail_next(lease, Problem(500, "The server failed on this record"))
        return True
