"""Who may sign up, use this server and operate it; for those who operate it, by the session cookie."""

from __future__ import annotations

from typing import Any

from app.http import caller, page
from app.problems import Issue, invalid
from app.runtime import runtime
from app.services import audit, joining, operators
from app.wire.moments import moment
from app.wire.pages import Listing
from models.base import now
from models.sessions import InvitationCode
from models.views.account import InvitationCodeView, ManagedUserView

Json = dict[str, Any]

show_code = InvitationCodeView().dump
show_user = ManagedUserView().dump


def create_invitation_code(body: Json) -> Json:
    """Make a code that lets somebody sign up."""
    ends = moment(body["expires_at"]) if body.get("expires_at") else None
    if ends and ends <= now():
        raise invalid(Issue(("body", "expires_at"), "future"))
    issued = joining.issue_code(
        body.get("max_uses", 1), ends, body.get("note", "").strip(), runtime().secrets, caller().user_id
    )
    audit.note("invitation_code.create", "invitation_code", str(issued.row.id), max_uses=issued.row.max_uses)
    shown: Json = show_code(issued.row)
    return shown | {"code": issued.code}


def list_invitation_codes(**window: Any) -> Json:
    """List the codes, newest first."""
    return page(Listing(joining.codes(), "items", show_code, (InvitationCode.id,)), **window)


def list_accounts(limit: int, offset: int, sort: str, order: str, q: str | None, **states: Any) -> Json:
    """List the users of this server."""
    role = states.pop("role")
    states["is_admin"] = None if role is None else role == "admin"
    found = operators.find(q, sort, descending=order == "desc", **states)
    return page(Listing(found, "items", show_user), limit=limit, offset=offset)


def update_account(id_: int, body: Json) -> Json:
    """Switch an account on or off, and make or unmake an operator."""
    role = body.get("role")
    is_admin = None if role is None else role == "admin"
    shown: Json = show_user(operators.change(id_, is_active=body.get("is_active"), is_admin=is_admin))
    return shown
