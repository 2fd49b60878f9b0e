"""What becomes of a job on its box: begun, its files on their way, ended; or called off by people and by the clock."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, and_, or_, select

from app.services.box_jobs import moves, states
from app.services.box_jobs.states import (
    ACTIVE,
    CANCELLED,
    DISPATCHING,
    FAILED,
    OPEN,
    QUEUED,
    RUNNING,
    TIMED_OUT,
    WAITING,
)
from models.base import now, session
from models.box_jobs import BoxJob
from models.boxes import ONLINE, Box, BoxGroupBox

COULD_NOT_RUN = -1
BATCH = 200


def begin(job: BoxJob) -> None:
    """The box got the job and starts it. Saying so again changes nothing; a 409 Problem when it may not run."""
    if not moves.move(job, RUNNING, started_at=now()) and job.status != RUNNING:
        raise moves.refused(job)


def progress(job: BoxJob, status: str) -> None:
    """The box is at this stage (running or uploading); a 409 Problem for a step back, or once the job is over."""
    if job.status == status:
        return
    if job.status == DISPATCHING or not moves.move(job, status):
        raise moves.refused(job)


def end(job: BoxJob, exit_code: int, reason: str | None = None) -> None:
    """The command ended: completed by exit code 0, else failed, or timed out when its time was up.

    The same result again changes nothing, for an answer may get lost; a 409 Problem for another, or one too late.
    """
    moment = now()
    following = states.outcome(exit_code)
    if following == FAILED and job.deadline_at is not None and job.deadline_at <= moment:
        following = TIMED_OUT
    reasons = {FAILED: reason or ("could_not_run" if exit_code == COULD_NOT_RUN else "exit_code")}
    if moves.move(job, following, exit_code=exit_code, failure_reason=reasons.get(following)):
        return
    if not states.is_over(job.status) or job.exit_code != exit_code:
        raise moves.refused(job)


def cancel(job: BoxJob, reason: str | None) -> None:
    """Call the job off at once; the box learns of it when it next asks or tells. A 409 Problem when it is over."""
    if not moves.move(job, CANCELLED, cancel_reason=reason):
        raise moves.refused(job)


def time_out_overdue(moment: datetime) -> int:
    """End every job whose time was up by then, freeing its box; how many. Safe in several workers at once."""
    return sum(moves.move(job, TIMED_OUT, BoxJob.deadline_at <= moment) for job in _some(_overdue(moment)))


def fail_unplaceable() -> int:
    """End waiting jobs that no box can ever take, because the box or the whole group is gone; how many."""
    return sum(moves.move(job, FAILED, failure_reason="no_suitable_box") for job in _some(_unplaceable()))


def mark_waiting() -> int:
    """Say of queued jobs that they wait for a box, where theirs is offline, busy or locked; how many."""
    return sum(moves.move(job, WAITING) for job in _some(_unserved()))


def is_any_due(moment: datetime) -> bool:
    """Whether any of these three has something to do; takes no lock."""
    which = (_overdue(moment), _unplaceable(), _unserved())
    return any(session().scalar(select(BoxJob.id).where(due).limit(1)) is not None for due in which)


def is_at_work(box_id: int) -> bool:
    """Whether a job is at work on the box; such a box cannot be deleted."""
    at_work = select(BoxJob.id).where(BoxJob.box_id == box_id, BoxJob.status.in_(ACTIVE))
    return session().scalar(at_work.limit(1)) is not None


def _overdue(moment: datetime) -> ColumnElement[bool]:
    return and_(BoxJob.status.in_(ACTIVE), BoxJob.deadline_at <= moment)


def _unplaceable() -> ColumnElement[bool]:
    boxless = ~select(BoxGroupBox.box_id).where(BoxGroupBox.group_id == BoxJob.box_group_id).exists()
    gone = or_(BoxJob.box_group_id.is_(None), boxless)
    return and_(BoxJob.status.in_(OPEN), BoxJob.box_id.is_(None), gone)


def _unserved() -> ColumnElement[bool]:
    at_work = select(BoxJob.box_id).where(BoxJob.status.in_(ACTIVE), BoxJob.box_id.is_not(None))
    ready = and_(Box.status == ONLINE, Box.id.not_in(at_work), ~moves.is_locked())
    of_group = select(BoxGroupBox.box_id).where(BoxGroupBox.group_id == BoxJob.box_group_id)
    theirs = or_(Box.id == BoxJob.box_id, and_(BoxJob.box_id.is_(None), Box.id.in_(of_group)))
    return and_(BoxJob.status == QUEUED, ~select(Box.id).where(theirs, ready).correlate(BoxJob).exists())


def _some(which: ColumnElement[bool]) -> list[BoxJob]:
    return list(session().scalars(select(BoxJob).where(which).order_by(BoxJob.id).limit(BATCH)))
