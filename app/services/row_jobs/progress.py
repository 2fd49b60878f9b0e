"""How a job moves: pending → running → done, failed or cancelled, each step one transaction that holds the job's row.

Whoever works on a job says how far it thought the job was. A worker that was only slow, or whose job was cancelled or
taken over meanwhile, finds another state and stores nothing: each unit's rows are stored once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import orjson
from sqlalchemy import Select, select
from sqlalchemy.orm import undefer

from app.services.registry import RESULT_RETENTION_DAYS
from app.services.row_jobs import chunks, logs, queue
from app.services.row_jobs.chunks import Packed
from app.services.row_jobs.logs import Line
from models.base import now, session
from models.row_jobs import CANCELLED, DONE, FAILED, OPEN, PENDING, RUNNING, RowJob, RowJobRows

Json = dict[str, Any]
KEPT: Final = timedelta(days=RESULT_RETENTION_DAYS)
ENDINGS: Final = {DONE: "info", FAILED: "error", CANCELLED: "warn"}


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done of a job, and how far it is."""

    job_id: int
    uid: str
    job_type: str
    params: Json
    units: int
    processed: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What came of the next few units: how many they were, how many failed, their rows, and what to log."""

    units: int
    failed: int
    rows: Packed
    lines: Sequence[Line] = ()


def begin(uid: str) -> Work | None:
    """Start a job, or go on with one whose worker died; None when there is nothing to do, or no place for it."""
    job = session().scalar(_locked(RowJob.uid == uid).options(undefer(RowJob.params)))
    if job is None or job.status not in OPEN:
        return None
    if job.status == PENDING:
        if not queue.has_place(job):
            return None
        job.status, job.started_at = RUNNING, now()
        logs.append(job, [Line("info", f"Started: {job.units - job.processed} {job.unit} to do")])
    else:
        logs.append(job, [Line("warn", f"Taken up again after {job.processed} of {job.units} {job.unit}")])
    return Work(job.id, job.uid, job.job_type, orjson.loads(job.params), job.units, job.processed)


def advance(job_id: int, at: int, batch: Batch) -> bool:
    """Store what came of the units from `at` on; false when the job is no longer there."""
    job = _running(job_id, at)
    if job is None:
        return False
    _add(job, batch)
    return True


def finish(job_id: int, at: int, batch: Batch | None = None) -> bool:
    """Store the last units and end the job: failed when no unit succeeded, done otherwise."""
    job = _running(job_id, at)
    if job is None:
        return False
    if batch:
        _add(job, batch)
    if job.units and job.failed_units >= job.units:
        end(job, FAILED, f"None of the {job.units} {job.unit} succeeded")
    else:
        end(job, DONE)
    return True


def fail(job_id: int, message: str) -> None:
    """End a running job that cannot go on; what is stored stays."""
    if job := session().scalar(_locked(RowJob.id == job_id, RowJob.status == RUNNING)):
        end(job, FAILED, message)


def end(job: RowJob, status: str, error: str | None = None) -> None:
    """Bring a job to its end, and give its place to the next; the caller's transaction holds its row."""
    held = job.status == RUNNING
    job.status, job.parked = status, False
    job.error = logs.plain(error) if error else None
    job.completed_at = now()
    job.expires_at = job.completed_at + KEPT
    said = f"{status.capitalize()}: {job.processed} of {job.units} {job.unit}, {job.rows} rows"
    logs.append(job, [Line(ENDINGS[status], f"{said}. {error}" if error else said)])
    if held:
        session().flush()
        queue.release(job.owner_id)


def _running(job_id: int, at: int) -> RowJob | None:
    return session().scalar(_locked(RowJob.id == job_id, RowJob.status == RUNNING, RowJob.processed == at))


def _locked(*where: Any) -> Select[RowJob]:
    return select(RowJob).where(*where).with_for_update()


def _add(job: RowJob, batch: Batch) -> None:
    chunks.store(RowJobRows, job.id, job.rows, batch.rows)
    job.processed += batch.units
    job.attempts += batch.units
    job.failed_units += batch.failed
    job.rows += batch.rows.count
    filled = batch.rows.columns
    if filled:
        names = dict.fromkeys((*job.columns, *filled))
        job.columns = {name: job.columns.get(name, 0) + filled.get(name, 0) for name in names}
    logs.append(job, batch.lines)
