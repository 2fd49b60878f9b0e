"""Grants of boxes and of groups of boxes: given, taken back, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from app.problems import conflict, not_found
from app.services.box_access import MANAGERS, hold_org
from models.base import session
from models.boxes import AccessGrant, Box, BoxGroup, BoxGroupBox
from models.identity import User
from models.orgs import Membership, Team, TeamMember
from models.sessions import SshKey

ROLE, DIRECT, TEAM, GROUP = "role", "direct", "team", "group"
Target = Box | BoxGroup
Condition = ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class Effective:
    """Somebody who may use a box, and by what."""

    user: User
    via: str


def grants(target: Target) -> Select[AccessGrant]:
    """The grants of this very box or group, with whom they are to."""
    known = (AccessGrant.box, AccessGrant.group, AccessGrant.user, AccessGrant.team, AccessGrant.granted_by)
    return select(AccessGrant).where(_of(target)).options(*(joinedload(column) for column in known))


def grant(target: Target, fields: Mapping[str, Any], granted_by_id: int | None) -> AccessGrant:
    """Let a user or a team use the target; Problem 404 when the org has none such, 409 when they may already."""
    hold_org(target.org_id)
    row = AccessGrant(org_id=target.org_id, granted_by_id=granted_by_id)
    row.box, row.group = (target, None) if isinstance(target, Box) else (None, target)
    if "userId" in fields:
        row.user, field = _member(target.org_id, fields["userId"]), "userId"
    else:
        row.team, field = _team(target.org_id, fields["teamId"]), "teamId"
    try:
        with session().begin_nested():
            session().add(row)
    except IntegrityError:
        raise conflict(f"There is such a grant for this {field} already", field=field) from None
    return row


def revoke(target: Target, uid: str) -> None:
    """Take a grant back; a 404 Problem when the target has none of that id."""
    gone = delete(AccessGrant).where(_of(target), AccessGrant.uid == uid.lower()).returning(AccessGrant.id)
    if session().execute(gone).first() is None:
        raise not_found("Access grant")


def forget_member(org_id: int, user_id: int) -> None:
    """Drop what was granted to somebody who leaves the org, so that coming back gives nothing by itself."""
    theirs = delete(AccessGrant).where(AccessGrant.org_id == org_id, AccessGrant.user_id == user_id)
    session().execute(theirs)


def effective(box: Box) -> list[Effective]:
    """Everybody who may use the box, each once, by the first way that holds; in the order of their addresses."""
    ways = {
        ROLE: _managers(),
        DIRECT: _by_name(AccessGrant.box_id == box.id),
        TEAM: _by_team(AccessGrant.box_id == box.id),
        GROUP: or_(_by_name(_of_groups(box)), _by_team(_of_groups(box))),
    }
    found: dict[int, Effective] = {}
    for via, condition in ways.items():
        for user in session().scalars(_members(box.org_id).where(condition)):
            found.setdefault(user.id, Effective(user, via))
    return sorted(found.values(), key=lambda one: one.user.email)


def authorized_keys(box: Box) -> Select[SshKey]:
    """The SSH keys of everybody active who may use the box."""
    granted = or_(AccessGrant.box_id == box.id, _of_groups(box))
    may = or_(_managers(), _by_name(granted), _by_team(granted))
    users = _members(box.org_id).where(User.is_active, may)
    keys = select(SshKey).where(SshKey.user_id.in_(users.with_only_columns(User.id)))
    return keys.options(joinedload(SshKey.user))


def _members(org_id: int) -> Select[User]:
    return select(User).join(Membership, Membership.user_id == User.id).where(Membership.org_id == org_id)


def _managers() -> Condition:
    return Membership.role.in_(MANAGERS)


def _by_name(which: Condition) -> Condition:
    return User.id.in_(select(AccessGrant.user_id).where(which, AccessGrant.user_id.is_not(None)))


def _by_team(which: Condition) -> Condition:
    inside = select(TeamMember.user_id).join(AccessGrant, AccessGrant.team_id == TeamMember.team_id)
    return User.id.in_(inside.where(which))


def _of_groups(box: Box) -> Condition:
    return AccessGrant.group_id.in_(select(BoxGroupBox.group_id).where(BoxGroupBox.box_id == box.id))


def _of(target: Target) -> Condition:
    return AccessGrant.box_id == target.id if isinstance(target, Box) else AccessGrant.group_id == target.id


def _member(org_id: int, uid: str) -> User:
    user = session().scalar(_members(org_id).where(User.uid == uid.lower()))
    if user is None:
        raise not_found("Member")
    return user


def _team(org_id: int, uid: str) -> Team:
    team = session().scalar(select(Team).where(Team.org_id == org_id, Team.uid == uid.lower()))
    if team is None:
        raise not_found("Team")
    return team
