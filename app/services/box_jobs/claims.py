"""Boxes take jobs: the oldest that is theirs, one at a time, and no job is ever taken twice."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, or_, select, update

from app.problems import not_found
from app.security.presigned import presign
from app.security.sealing import UnsealError
from app.security.secrets import Secrets
from app.services import locks
from app.services.box_jobs import moves, submit
from app.services.box_jobs.states import ACTIVE, DISPATCHING, FAILED, OPEN
from models.base import now, session
from models.box_jobs import BoxJob, BoxJobFile
from models.boxes import Box, BoxGroupBox
from models.identity import User

log = logging.getLogger("yardmaster.box_jobs")
# A box that was handed a job and did not say so by then never got it: the answer was lost on the way.
LOST_AFTER = timedelta(seconds=10)
FILES_FOR = timedelta(hours=1)
BATCH = 100


@dataclass(frozen=True, slots=True)
class Site:
    """Where this server is reached, and what it signs addresses with."""

    base_url: str
    secrets: Secrets = field(repr=False)


def box_by_uid(uid: str) -> Box:
    """A box by its own word; a 404 Problem when it was deleted a moment ago."""
    box = session().scalar(select(Box).where(Box.uid == uid))
    if box is None:
        raise not_found("Box")
    return box


def own(box_uid: str, job_uid: str) -> BoxJob:
    """A job that this box took; a 404 Problem for any other, be it of another box or of none."""
    taken = select(BoxJob).join(Box, Box.id == BoxJob.box_id).where(BoxJob.dispatched_at.is_not(None))
    job = session().scalar(taken.where(Box.uid == box_uid, BoxJob.uid == job_uid.lower()))
    if job is None:
        raise not_found("Job")
    return job


def claimable(box_ids: Collection[int]) -> set[int]:
    """Those of the boxes that would probably get a job if they asked; a cheap look that takes nothing."""
    of_group = select(BoxGroupBox.group_id).where(BoxGroupBox.box_id == Box.id)
    waiting = exists().where(BoxJob.status.in_(OPEN), _for(Box.id, of_group))
    busy = exists().where(BoxJob.box_id == Box.id, BoxJob.status.in_(ACTIVE))
    lost = exists().where(BoxJob.box_id == Box.id, _lost())
    by_somebody = and_(moves.is_locked(), Box.lock_holder_type != locks.STOUT)
    ready = or_(lost, and_(waiting, ~busy, or_(Box.lock_user.is_(None), ~by_somebody)))
    return set(session().scalars(select(Box.id).where(Box.id.in_(box_ids), ready)))


def claim(box_uid: str) -> BoxJob | None:
    """The oldest job this box may run, now its own; None when there is none, the box is busy, or its lock is held.

    The box's row is locked first, so the same box cannot take two jobs; the job goes to whoever's UPDATE finds it free.
    """
    box = session().scalar(select(Box).where(Box.uid == box_uid).with_for_update(key_share=True))
    if box is None:
        raise not_found("Box")
    active = session().scalar(select(BoxJob).where(BoxJob.box_id == box.id, BoxJob.status.in_(ACTIVE)).limit(1))
    if active is not None:
        return active if _hand_again(active) else None
    return next((job for job in _waiting_for(box) if _take(job, box)), None)


def execution(job: BoxJob, site: Site) -> dict[str, Any] | None:
    """What the box needs to run the job; None when its environment cannot be opened any more, which fails it."""
    try:
        env = submit.env_of(job, site.secrets)
    except UnsealError:
        log.error("the environment of job %s cannot be opened; its sealing key is gone", job.uid)  # noqa: TRY400
        moves.move(job, FAILED, failure_reason="environment_unreadable")
        return None
    files = [{"path": row.path, "url": _address(row, site)} for row in _files(job)]
    told = {"jobId": job.uid, "command": job.command, "args": job.args, "timeoutSeconds": job.timeout_s}
    return told | {"env": env, "files": files, "resourceLock": job.resource_lock}


def file_path(uid: str) -> str:
    """Where a file of a job is fetched."""
    return f"/api/job-files/{uid}/content"


def _for(box_id: Any, groups: Select[int]) -> ColumnElement[bool]:
    """The condition that a job is for the box, by itself or as one of a group."""
    return or_(BoxJob.box_id == box_id, and_(BoxJob.box_id.is_(None), BoxJob.box_group_id.in_(groups)))


def _lost() -> ColumnElement[bool]:
    return and_(BoxJob.status == DISPATCHING, BoxJob.delivered_at < now() - LOST_AFTER)


def _hand_again(job: BoxJob) -> bool:
    """Whether the box is handed its job anew, because it never said that it got it; of several asking, one is."""
    again = update(BoxJob).where(BoxJob.id == job.id, _lost()).values(delivered_at=now())
    handed = session().scalar(again.returning(BoxJob.id).execution_options(synchronize_session=False))
    return handed is not None


def _waiting_for(box: Box) -> Iterator[BoxJob]:
    """The open jobs that the box may run, oldest first."""
    groups = select(BoxGroupBox.group_id).where(BoxGroupBox.box_id == box.id)
    due = select(BoxJob).where(BoxJob.status.in_(OPEN), _for(box.id, groups)).order_by(BoxJob.id).limit(BATCH)
    if (holder := _lock_of(box)) is not None:
        due = due.where(BoxJob.created_by_id.in_(select(User.id).where(User.uid == _user_of(holder))))
    has, last = None, 0
    while jobs := session().scalars(due.where(BoxJob.id > last)).all():
        last = jobs[-1].id
        for job in jobs:
            has = submit.offered(box) if has is None and job.required_capabilities else has
            if not submit.missing(job.required_capabilities, has or ()):
                yield job


def _lock_of(box: Box) -> str | None:
    """Who holds the box's lock; None when it is free, or held for a job, for then no job is at work on it any more."""
    over = box.lock_expires_at is not None and box.lock_expires_at <= now()
    free = box.lock_user is None or over or box.lock_user.startswith(moves.holder_prefix())
    return None if free else box.lock_user


def _user_of(holder: str) -> str:
    """The user a lock of ours names (`stout:<user id>:<address>`); empty for anybody else's."""
    kind, _, rest = holder.partition(":")
    return rest.partition(":")[0] if kind == locks.STOUT else ""


def _take(job: BoxJob, box: Box) -> bool:
    moment = now()
    free_lock = job.resource_lock and _lock_of(box) is None
    clock = {"dispatched_at": moment, "delivered_at": moment, "deadline_at": _deadline(moment, job)}
    if not moves.move(job, DISPATCHING, box_id=box.id, locked_box=free_lock, **clock):
        return False
    if free_lock:
        moves.hold(box, job)
    return True


def _deadline(moment: datetime, job: BoxJob) -> datetime:
    return moment + timedelta(seconds=job.timeout_s)


def _files(job: BoxJob) -> Collection[BoxJobFile]:
    return session().scalars(select(BoxJobFile).where(BoxJobFile.job_id == job.id).order_by(BoxJobFile.id)).all()


def _address(row: BoxJobFile, site: Site) -> str:
    return site.base_url + presign("GET", file_path(row.uid), now() + FILES_FOR, site.secrets)
