"""Bulk jobs: accepted whole before anybody is told so, worked off record by record under a lease, each exactly once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from sqlalchemy import and_, delete, insert, or_, select, update
from sqlalchemy.orm import selectinload

from app.problems import Problem, malformed, not_found
from app.services.desk import Actor
from app.wire.dialects import record as worded
from models.base import now, session
from models.desk import BulkJob, BulkRecord

Json = dict[str, Any]
QUEUED, PROCESSING, COMPLETED, PARTLY, FAILED = "queued", "processing", "completed", "completed_with_errors", "failed"
OPEN = (QUEUED, PROCESSING)
# Long enough for the slowest record, short enough that a dead worker is missed by nobody.
LEASE = timedelta(seconds=10)
KEPT = timedelta(hours=24)
# How one record is carried out: what became of it (created, updated) and the number it has now.
Carry = Callable[[Actor, Json], tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Lease:
    """A job held by a worker, and for whom it acts."""

    job_id: int
    kind: str
    owner: str
    actor: Actor


def accept(actor: Actor, kind: str, records: Sequence[Json]) -> BulkJob:
    """A queued job; it is there to stay once the transaction is."""
    job = BulkJob(org_id=actor.org_id, user_id=actor.user_id, email=actor.email, kind=kind, total=len(records))
    session().add(job)
    session().flush()
    rows = [{"job_id": job.id, "position": i, "payload": _text(record)} for i, record in enumerate(records)]
    session().execute(insert(BulkRecord), rows)
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


def waiting() -> bool:
    """Whether there is a job that nobody holds."""
    return session().scalar(select(BulkJob.id).where(_free()).limit(1)) is not None


def claim(owner: str) -> Lease | None:
    """Take the oldest job that nobody holds, or whose holder let the lease run out; None when there is none."""
    oldest = select(BulkJob).where(_free()).order_by(BulkJob.id).limit(1)
    job = session().scalar(oldest.with_for_update(skip_locked=True))
    if job is None:
        return None
    moment = now()
    job.status, job.started_at = PROCESSING, job.started_at or moment
    job.lease_owner, job.lease_until = owner, moment + LEASE
    return Lease(job.id, job.kind, owner, Actor(job.org_id, job.user_id, job.email))


def carry_out_next(lease: Lease, carry: Carry) -> bool:
    """Carry out the next record and mark it in the same transaction; false when the job is over or somebody else's.

    The job's row stays locked meanwhile: a holder whose lease ran out and the one who took it over cannot both work.
    """
    if not _renew(lease):
        return False
    row = session().scalar(_pending(lease.job_id).order_by(BulkRecord.position).limit(1))
    if row is None:
        _finish(lease)
        return False
    try:
        with session().begin_nested():
            row.status, row.record_id = carry(lease.actor, orjson.loads(row.payload))
    except Problem as problem:
        fail(row, problem)
    return True


def fail_next(lease: Lease, problem: Problem) -> None:
    """Mark the next record as failed without trying it: carrying it out broke the server."""
    row = session().scalar(_pending(lease.job_id).order_by(BulkRecord.position).limit(1))
    if _renew(lease) and row is not None:
        fail(row, problem)


def fail(row: BulkRecord, problem: Problem) -> None:
    """Mark a record as refused, in the words a single call is refused with."""
    told = worded(problem, "")
    kept = {name: told[name] for name in ("error", "code", "details") if name in told}
    row.status, row.record_id, row.error = FAILED, None, orjson.dumps(kept).decode()


def release(lease: Lease) -> None:
    """Let anybody go on with a job at once."""
    session().execute(_mine(lease).values(lease_owner=None, lease_until=None))


def sweep() -> None:
    """Delete the jobs that ended a day ago."""
    session().execute(delete(BulkRecord).where(BulkRecord.job_id.in_(select(BulkJob.id).where(_outdated()))))
    session().execute(delete(BulkJob).where(_outdated()))


def _free() -> Any:
    return and_(BulkJob.status.in_(OPEN), or_(BulkJob.lease_until.is_(None), BulkJob.lease_until < now()))


def _outdated() -> Any:
    return and_(BulkJob.completed_at.is_not(None), BulkJob.completed_at < now() - KEPT)


def _pending(job_id: int) -> Any:
    return select(BulkRecord).where(BulkRecord.job_id == job_id, BulkRecord.status.is_(None))


def _mine(lease: Lease) -> Any:
    return update(BulkJob).where(BulkJob.id == lease.job_id, BulkJob.lease_owner == lease.owner)


def _renew(lease: Lease) -> bool:
    held = _mine(lease).values(lease_until=now() + LEASE).returning(BulkJob.id)
    return session().scalar(held) is not None


def _finish(lease: Lease) -> None:
    ended = session().scalars(select(BulkRecord.status).where(BulkRecord.job_id == lease.job_id)).all()
    failed = ended.count(FAILED)
    status = FAILED if failed == len(ended) else PARTLY if failed else COMPLETED
    session().execute(_mine(lease).values(status=status, completed_at=now(), lease_owner=None, lease_until=None))
