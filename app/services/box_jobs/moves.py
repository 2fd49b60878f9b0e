"""The one way a job changes its state: along an edge, by whoever comes first, with what depends on it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, or_, update

from app.problems import Problem, conflict
from app.services import locks
from app.services.box_jobs import news, states
from app.services.locks import Lock
from models.base import now, session
from models.box_jobs import BoxJob
from models.boxes import Box


def move(job: BoxJob, following: str, *also: ColumnElement[bool], **values: Any) -> bool:
    """Bring the job into a state if an edge leads there now and `also` holds; whether it did. The row is read anew.

    Of several who try at the same moment one succeeds: the condition is part of the UPDATE.
    """
    moment = now()
    stamps = {"status": following, "updated_at": moment}
    stamps |= {"finished_at": moment} if states.is_over(following) else {}
    allowed = update(BoxJob).where(BoxJob.id == job.id, BoxJob.status.in_(states.before(following)), *also)
    changed = allowed.values(**stamps | values).returning(BoxJob.id).execution_options(synchronize_session=False)
    moved = session().scalar(changed) is not None
    session().refresh(job)
    if moved:
        if states.is_over(following):
            free(job)
        news.ring()
    return moved


def refused(job: BoxJob) -> Problem:
    """409 for what the job's state does not allow; `status` tells a box why, such as that it was cancelled."""
    return conflict(f"The job is {job.status.replace('_', ' ')}", status=job.status)


def hold(box: Box, job: BoxJob) -> None:
    """Lock the box for the job's life."""
    locks.acquire(box, Lock(holder(job), reason="A job has the box to itself"))


def free(job: BoxJob) -> None:
    """Free the box if the job holds its lock; one that somebody forced meanwhile is left alone."""
    if job.locked_box and job.box is not None:
        locks.release(job.box, holder(job))


def holder(job: BoxJob) -> str:
    """What a box's lock names the job by."""
    return holder_prefix() + job.uid


def holder_prefix() -> str:
    """How every lock that is held by a job begins."""
    return f"{locks.STOUT}:job:"


def is_locked() -> ColumnElement[bool]:
    """The condition that a box's lock is in force."""
    return and_(Box.lock_user.is_not(None), or_(Box.lock_expires_at.is_(None), Box.lock_expires_at > now()))
