"""Who may use a box: owners and admins of its org, and whom it is granted to, by name, by team, or with its group."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Select, or_, select

from app.problems import forbidden, not_found
from app.security.principals import Principal
from models.base import session
from models.boxes import AccessGrant, Box, BoxGroupBox
from models.orgs import ADMIN, OWNER, Org, TeamMember

MANAGERS = frozenset({OWNER, ADMIN})


def org_of(uid: str) -> Org:
    """The org with this UUID; a 404 Problem when it is gone."""
    org = session().scalar(select(Org).where(Org.uid == uid.lower()))
    if org is None:
        raise not_found("Organization")
    return org


def hold_org(org_id: int) -> None:
    """Make whoever else changes groups, grants or the set of boxes of the org wait until the transaction ends."""
    held = select(Org.id).where(Org.id == org_id).with_for_update(key_share=True)
    if session().scalar(held) is None:
        raise not_found("Organization")


def manages(principal: Principal, org: Org) -> bool:
    """Whether the caller is an owner or an admin of the org."""
    return principal.orgs.get(org.uid) in MANAGERS


def accessible(principal: Principal, org: Org) -> Select[Box]:
    """The boxes of the org that the caller may use: all of them for its owners and admins, none for strangers."""
    boxes = select(Box).where(Box.org_id == org.id)
    if manages(principal, org):
        return boxes
    if org.uid not in principal.orgs or principal.user_id is None:
        return boxes.where(Box.id.is_(None))
    return boxes.where(granted_to(principal.user_id))


def may_use(box: Box, principal: Principal) -> bool:
    """Whether the caller may use the box."""
    of_these = accessible(principal, box.org).where(Box.id == box.id).with_only_columns(Box.id)
    return session().scalar(of_these) is not None


def find(org_uid: str, box_uid: str) -> Box:
    """A box of the org; a 404 Problem when there is none, or it is another org's."""
    mine = select(Box).join(Org, Org.id == Box.org_id).where(Org.uid == org_uid.lower())
    box = session().scalar(mine.where(Box.uid == box_uid.lower()))
    if box is None:
        raise not_found("Box")
    return box


def usable(org_uid: str, box_uid: str, principal: Principal) -> Box:
    """A box of the org that the caller may use; a 404 Problem as for `find`, 403 when it was not granted."""
    box = find(org_uid, box_uid)
    if not may_use(box, principal):
        raise forbidden("You have no access to this box; ask an admin of the organization for it")
    return box


def granted_to(user_id: int) -> ColumnElement[bool]:
    """The condition that a box is granted to the user, by whichever way."""
    teams = select(TeamMember.team_id).where(TeamMember.user_id == user_id)
    theirs = or_(AccessGrant.user_id == user_id, AccessGrant.team_id.in_(teams))
    by_group = select(BoxGroupBox.box_id).join(AccessGrant, AccessGrant.group_id == BoxGroupBox.group_id).where(theirs)
    alone = select(AccessGrant.box_id).where(theirs, AccessGrant.box_id.is_not(None))
    return or_(Box.id.in_(alone), Box.id.in_(by_group))
