"""The members of an org: found, given other roles, and removed."""

from __future__ import annotations

from sqlalchemy import Select, delete, func, or_, select
from sqlalchemy.orm import contains_eager

from app.problems import conflict, forbidden, not_found
from app.services import access, audit
from app.services.orgs import Actor
from app.services.revisions import bump
from models.base import session
from models.identity import User
from models.orgs import DESK_ROLES, MEMBER, OWNER, Membership, Org, Team, TeamMember


def of_org(org: Org, role: str | None = None, search: str | None = None) -> Select[Membership]:
    """An org's members: of a role, and with every word of `search` in their name or address."""
    found = select(Membership).join(Membership.user).options(contains_eager(Membership.user))
    found = found.where(Membership.org_id == org.id)
    if role:
        found = found.where(Membership.role == role)
    for word in (search or "").split():
        found = found.where(or_(*(column.icontains(word, autoescape=True) for column in (User.name, User.email))))
    return found


def get(org: Org, user_uid: str) -> Membership:
    """A user's membership of the org; a 404 Problem when they are no member."""
    member = session().scalar(of_org(org).where(User.uid == user_uid.lower()))
    if member is None:
        raise not_found("Member")
    return member


def change_role(actor: Actor, user_uid: str, role: str) -> Membership:
    """Give a member another role; Problem 403 when an admin would make or unmake an owner, 409 for the last owner.

    The actor holds the org, so that two owners cannot unmake each other at the same moment.
    """
    member = get(actor.org, user_uid)
    if OWNER in {member.role, role} and not actor.is_owner:
        raise forbidden("Only an owner can make somebody an owner, or change an owner's role")
    if member.role != role:
        _refuse_last_owner(member)
        _assign(member, role)
    return member


def _assign(member: Membership, role: str) -> None:
    before, member.role = member.role, role
    if member.desk_role == DESK_ROLES[before]:
        member.desk_role = DESK_ROLES[role]
    audit.note("member.role_change", "user", member.user.uid, member.org_id, before=before, after=role)
    bump()


def remove(actor: Actor, user_uid: str) -> None:
    """End a membership, and with it what its teams give; Problem 403 without the role, 409 for the last owner."""
    member = get(actor.org, user_uid)
    if member.user_id != actor.user.id:
        _refuse_removal(actor, member)
    _refuse_last_owner(member)
    audit.note("member.remove", "user", member.user.uid, member.org_id, email=member.user.email, role=member.role)
    session().delete(member)
    teams = select(Team.id).where(Team.org_id == actor.org.id)
    mine = delete(TeamMember).where(TeamMember.user_id == member.user_id, TeamMember.team_id.in_(teams))
    session().execute(mine)
    access.forget_member(actor.org.id, member.user_id)
    bump()


def _refuse_removal(actor: Actor, member: Membership) -> None:
    if actor.role == MEMBER:
        raise forbidden("Only an admin can remove somebody else")
    if member.role == OWNER and not actor.is_owner:
        raise forbidden("Only an owner can remove an owner")


def _refuse_last_owner(member: Membership) -> None:
    owners = select(func.count(Membership.id)).where(Membership.org_id == member.org_id, Membership.role == OWNER)
    if member.role == OWNER and (session().scalar(owners) or 0) <= 1:
        raise conflict("An organization has an owner at all times; make somebody else one first")
