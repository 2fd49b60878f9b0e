"""Which jobs a caller may see and touch: those on boxes, or for groups of boxes, that they may use."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Engine, Select, and_, or_, select

from app.problems import forbidden, not_found
from app.security.principals import Principal
from app.services.box_access import accessible, manages
from models.base import session, transaction
from models.box_jobs import BoxJob
from models.boxes import AccessGrant, Box, BoxGroup
from models.orgs import Membership, Org, TeamMember
from models.sessions import RefreshSession


def jobs_of(principal: Principal, org: Org) -> Select[BoxJob]:
    """The jobs of the org that the caller may see: all of them for its owners and admins."""
    jobs = select(BoxJob).where(BoxJob.org_id == org.id)
    if manages(principal, org):
        return jobs
    boxes = accessible(principal, org).with_only_columns(Box.id)
    on_theirs = BoxJob.box_id.in_(boxes)
    if principal.user_id is None:
        return jobs.where(on_theirs)
    unclaimed = and_(BoxJob.box_id.is_(None), BoxJob.box_group_id.in_(_groups_of(principal.user_id)))
    # The box is deleted: nobody has access to it any more, but whoever asked may still see what came of it.
    left = and_(BoxJob.box_id.is_(None), BoxJob.box_group_id.is_(None), BoxJob.created_by_id == principal.user_id)
    return jobs.where(or_(on_theirs, unclaimed, left))


def find(principal: Principal, org_uid: str, job_uid: str) -> BoxJob:
    """A job of the org; Problem 404 when there is none, 403 when it is on a box the caller may not use."""
    mine = select(BoxJob).join(Org, Org.id == BoxJob.org_id).where(Org.uid == org_uid.lower())
    job = session().scalar(mine.where(BoxJob.uid == job_uid.lower()))
    if job is None:
        raise not_found("Job")
    if not may_see(principal, job):
        raise forbidden("You have no access to the box of this job; ask an admin of the organization for it")
    return job


def may_see(principal: Principal, job: BoxJob) -> bool:
    """Whether the job is one of those the caller may see."""
    this = jobs_of(principal, job.org).where(BoxJob.id == job.id).with_only_columns(BoxJob.id)
    return session().scalar(this) is not None


def may_use_group(principal: Principal, group: BoxGroup, org: Org) -> bool:
    """Whether the group is granted to the caller, or they manage its org."""
    if manages(principal, org):
        return True
    if principal.user_id is None:
        return False
    granted = _groups_of(principal.user_id).where(AccessGrant.group_id == group.id)
    return session().scalar(granted) is not None


def may_cancel(principal: Principal, job: BoxJob) -> bool:
    """Whether the caller asked for the job, or manages its org."""
    return manages(principal, job.org) or (principal.user_id is not None and job.created_by_id == principal.user_id)


def _groups_of(user_id: int) -> Select[int | None]:
    teams = select(TeamMember.team_id).where(TeamMember.user_id == user_id)
    theirs = or_(AccessGrant.user_id == user_id, AccessGrant.team_id.in_(teams))
    return select(AccessGrant.group_id).where(theirs, AccessGrant.group_id.is_not(None))


def may_still_see(engine: Engine, principal: Principal, job_id: int) -> bool:
    """Whether who was let in a while ago would be let in now: signed in still, a member still, with the same access."""
    with transaction(engine, write=False) as opened:
        job = opened.get(BoxJob, job_id)
        live = select(RefreshSession.id).where(
            RefreshSession.family == principal.session, RefreshSession.revoked_at.is_(None)
        )
        if job is None or opened.scalar(live.limit(1)) is None:
            return False
        member = select(Org.uid, Membership.role).join(Org, Org.id == Membership.org_id)
        orgs = dict(opened.execute(member.where(Membership.user_id == principal.user_id)).all())
        return may_see(replace(principal, orgs=orgs), job)
