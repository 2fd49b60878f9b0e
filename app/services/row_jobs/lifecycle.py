"""A user's jobs: found, listed, cancelled, deleted, and let go a week after their end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Engine, Select, delete, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from app.problems import Problem, not_found
from app.services.row_jobs import chunks, progress, queue
from app.services.row_jobs.logs import Line, append
from models.base import now, session, transaction
from models.row_jobs import CANCELLED, ENDED, EXPIRED, OPEN, RowJob, RowJobItems, RowJobRows

Json = dict[str, Any]
SORTS: Final[Mapping[str, InstrumentedAttribute[Any]]] = {
    "created_at": RowJob.created_at,
    "job_type": RowJob.job_type,
    "results_count": RowJob.rows,
}
BATCH: Final = 20


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list is narrowed to. `q` is a part of the id, the type or the error."""

    status: str | None = None
    job_type: str | None = None
    pipeline_id: str | None = None
    source_job_id: str | None = None
    q: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def get(owner_id: int, uid: str) -> RowJob:
    """A job of the owner; a 404 Problem for anybody else's."""
    job = session().scalar(_own(owner_id, uid))
    if job is None:
        raise not_found("Job")
    return job


def _held(owner_id: int, uid: str) -> RowJob:
    job = session().scalar(_own(owner_id, uid).with_for_update())
    if job is None:
        raise not_found("Job")
    return job


def _own(owner_id: int, uid: str) -> Select[RowJob]:
    return select(RowJob).where(RowJob.uid == uid, RowJob.owner_id == owner_id)


def find(owner_id: int, filters: Filters) -> Select[RowJob]:
    """The owner's jobs that match every filter."""
    wanted = select(RowJob).where(RowJob.owner_id == owner_id)
    for name in ("status", "job_type", "pipeline_id", "source_job_id"):
        if (value := getattr(filters, name)) is not None:
            wanted = wanted.where(getattr(RowJob, name) == value)
    if filters.q:
        read = (RowJob.uid, RowJob.job_type, RowJob.error)
        wanted = wanted.where(or_(*(column.icontains(filters.q, autoescape=True) for column in read)))
    if filters.since:
        wanted = wanted.where(RowJob.created_at >= filters.since)
    if filters.until:
        wanted = wanted.where(RowJob.created_at < filters.until)
    return wanted


def cancel(owner_id: int, uid: str) -> RowJob:
    """End a job now, keeping what is stored; a 400 Problem when it has ended already.

    Whoever works on it finds the job ended when storing the next rows, and stops.
    """
    job = _held(owner_id, uid)
    if job.status not in OPEN:
        raise Problem(400, f"The job is {job.status}; only one that is pending or running can be cancelled")
    progress.end(job, CANCELLED)
    queue.take_back(job)
    return job


def remove(owner_id: int, uid: str) -> None:
    """Delete a job with all its rows; a 400 Problem while it is pending or running."""
    job = _held(owner_id, uid)
    if job.status in OPEN:
        raise Problem(400, f"The job is {job.status}; cancel it before deleting it")
    session().execute(delete(RowJob).where(RowJob.id == job.id))


def expire(engine: Engine, moment: datetime | None = None) -> int:
    """Let go of the rows of jobs that ended a week ago, a few jobs to a transaction; how many jobs it were."""
    moment, gone = moment or now(), 0
    while True:
        with transaction(engine):
            jobs = session().scalars(_outdated(moment)).all()
            for job in jobs:
                _let_go(job)
        gone += len(jobs)
        if len(jobs) < BATCH:
            return gone


def _outdated(moment: datetime) -> Select[RowJob]:
    old = select(RowJob).where(RowJob.status.in_(ENDED), RowJob.expires_at < moment)
    return old.order_by(RowJob.id).limit(BATCH).with_for_update(skip_locked=True)


def _let_go(job: RowJob) -> None:
    for table in (RowJobItems, RowJobRows):
        chunks.forget(table, job.id)
    job.status = EXPIRED
    append(job, [Line("info", "Expired: its rows were deleted")])
