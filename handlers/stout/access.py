"""Who may use boxes and groups of boxes."""

from __future__ import annotations

from typing import Any

from app.http import Answer, caller, created, page
from app.services import access, audit, box_access, box_groups
from app.services.access import Target
from app.wire.pages import Listing
from models.base import session
from models.boxes import AccessGrant, Box
from models.views.boxes import GrantView, person

Json = dict[str, Any]

show_grant = GrantView().dump


def get_box_access(org_id: str, box_id: str) -> Json:
    """The grants of a box, and everybody who may use it."""
    box = box_access.usable(org_id, box_id, caller())
    given = session().scalars(access.grants(box).order_by(AccessGrant.id)).all()
    return {
        "members": [show_grant(row) for row in given if row.user_id is not None],
        "teams": [show_grant(row) for row in given if row.team_id is not None],
        "effective": [{"user": person(one.user), "via": one.via} for one in access.effective(box)],
    }


def create_box_grant(org_id: str, box_id: str, body: Json) -> Answer:
    """Grant a box."""
    return _grant(box_access.find(org_id, box_id), f"/api/orgs/{org_id}/boxes/{box_id}/access", body)


def delete_box_grant(org_id: str, box_id: str, grant_id: str) -> None:
    """Take a grant of a box back."""
    _revoke(box_access.find(org_id, box_id), grant_id)


def list_group_grants(org_id: str, group_id: str, **window: Any) -> Json:
    """The grants of a group."""
    group = box_groups.find(box_access.org_of(org_id), group_id)
    return page(Listing(access.grants(group), "items", show_grant, (AccessGrant.id,)), **window)


def create_group_grant(org_id: str, group_id: str, body: Json) -> Answer:
    """Grant every box of a group."""
    group = box_groups.find(box_access.org_of(org_id), group_id)
    return _grant(group, f"/api/orgs/{org_id}/box-groups/{group_id}/access", body)


def delete_group_grant(org_id: str, group_id: str, grant_id: str) -> None:
    """Take a grant of a group back."""
    _revoke(box_groups.find(box_access.org_of(org_id), group_id), grant_id)


def _grant(target: Target, address: str, body: Json) -> Answer:
    row = access.grant(target, body, caller().user_id)
    audit.note(f"{_kind(target)}.access_grant", _kind(target), target.uid, target.org_id, grant=row.uid, **body)
    session().refresh(row)
    return created(show_grant(row), f"{address}/{row.uid}")


def _revoke(target: Target, uid: str) -> None:
    access.revoke(target, uid)
    audit.note(f"{_kind(target)}.access_revoke", _kind(target), target.uid, target.org_id, grant=uid.lower())


def _kind(target: Target) -> str:
    return "box" if isinstance(target, Box) else "box_group"
