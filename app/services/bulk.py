"""Bulk jobs: accepted whole before anybody is told so, carried out record by record, each exactly once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import orjson
from sqlalchemy import and_, delete, insert, select
from sqlalchemy.orm import selectinload

from app import engine
from app.problems import Problem, malformed, not_found
from app.services.desk import Actor
from app.wire.dialects import record as worded
from models.base import now, session
from models.desk import BulkJob, BulkRecord

Json = dict[str, Any]
TASK = "bulk"
QUEUED, PROCESSING, COMPLETED, PARTLY, FAILED = "queued", "processing", "completed", "completed_with_errors", "failed"
OPEN = (QUEUED, PROCESSING)
KEPT = timedelta(hours=24)
# How one record is carried out: what became of it (created, updated) and the number it has now.
Carry = Callable[[Actor, Json], tuple[str, str]]


def accept(actor: Actor, kind: str, records: Sequence[Json]) -> BulkJob:
    """A queued job; it is there to stay once the transaction is."""
    job = BulkJob(org_id=actor.org_id, user_id=actor.user_id, email=actor.email, kind=kind, total=len(records))
    session().add(job)
    session().flush()
    rows = [{"job_id": job.id, "position": i, "payload": _text(record)} for i, record in enumerate(records)]
    session().execute(insert(BulkRecord), rows)
    engine.submit(TASK, job.uid)
    return job


def _text(record: Json) -> str:
    try:
        return orjson.dumps(record).decode()
    except orjson.JSONEncodeError:  # it writes less deep than it reads
        raise malformed("A record is nested too deeply") from None


def get(actor: Actor, uid: str, *, anybodys: bool) -> BulkJob:
    """A job of the tenant with its records: the actor's own, or `anybodys`; a 404 Problem when there is none."""
    known = select(BulkJob).where(BulkJob.uid == uid, BulkJob.org_id == actor.org_id, ~_outdated())
    job = session().scalar(known.options(selectinload(BulkJob.records)))
    if job is None or not (anybodys or job.user_id == actor.user_id):
        raise not_found("Job")
    return job


def carry_out_next(uid: str, carriers: Mapping[str, Carry]) -> bool:
    """Carry out the next record and mark it in the same transaction; false when the job is over.

    The job's row stays locked meanwhile: a worker that was only slow and the one that took over cannot both do one.
    """
    job = _held(uid)
    row = _next(job)
    if job is None or row is None:
        return False
    job.status, job.started_at = PROCESSING, job.started_at or now()
    try:
        with session().begin_nested():
            actor = Actor(job.org_id, job.user_id, job.email)
            row.status, row.record_id = carriers[job.kind](actor, orjson.loads(row.payload))
    except Problem as problem:
        fail(row, problem)
    _finish(job)
    return True


def fail_next(uid: str, problem: Problem) -> None:
    """Mark the next record as failed without trying it: carrying it out broke the server."""
    job = _held(uid)
    row = _next(job)
    if job is not None and row is not None:
        fail(row, problem)
        _finish(job)


def fail(row: BulkRecord, problem: Problem) -> None:
    """Mark a record as refused, in the words a single call is refused with."""
    told = worded(problem, "")
    kept = {name: told[name] for name in ("error", "code", "details") if name in told}
    row.status, row.record_id, row.error = FAILED, None, orjson.dumps(kept).decode()


def sweep() -> None:
    """Delete the jobs that ended a day ago."""
    session().execute(delete(BulkRecord).where(BulkRecord.job_id.in_(select(BulkJob.id).where(_outdated()))))
    session().execute(delete(BulkJob).where(_outdated()))


def _outdated() -> Any:
    return and_(BulkJob.completed_at.is_not(None), BulkJob.completed_at < now() - KEPT)


def _held(uid: str) -> BulkJob | None:
    """A job that is not over, locked against others; None when there is none."""
    unfinished = select(BulkJob).where(BulkJob.uid == uid, BulkJob.status.in_(OPEN))
    return session().scalar(unfinished.with_for_update())


def _next(job: BulkJob | None) -> BulkRecord | None:
    if job is None:
        return None
    pending = select(BulkRecord).where(BulkRecord.job_id == job.id, BulkRecord.status.is_(None))
    return session().scalar(pending.order_by(BulkRecord.position).limit(1))


def _finish(job: BulkJob) -> None:
    """End a job once all its records have."""
    session().flush()
    if _next(job) is not None:
        return
    ended = session().scalars(select(BulkRecord.status).where(BulkRecord.job_id == job.id)).all()
    failed = ended.count(FAILED)
    job.status = FAILED if failed == len(ended) else PARTLY if failed else COMPLETED
    job.completed_at = now()
