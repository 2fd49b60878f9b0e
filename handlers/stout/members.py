"""Who is in an organization, and who is invited into it."""

from __future__ import annotations

from typing import Any

from app.http import Answer, created, page
from app.runtime import runtime
from app.services import invitations, members, orgs
from app.services.orgs import ANYBODY
from app.wire.pages import Listing
from models.orgs import Invitation, Membership
from models.views.orgs import InvitationView, MembershipView

Json = dict[str, Any]

show_member = MembershipView().dump
show_invitation = InvitationView().dump


def list_members(org_id: str, role: str | None, search: str | None, **window: Any) -> Json:
    """An organization's members."""
    actor = orgs.acting(org_id)
    found = members.of_org(actor.org, role, search)
    return page(Listing(found, "items", show_member, (Membership.id,)), **window)


def update_member(org_id: str, user_id: str, body: Json) -> Json:
    """Give a member another role."""
    shown: Json = show_member(members.change_role(orgs.changing(org_id), user_id, body["role"]))
    return shown


def remove_member(org_id: str, user_id: str) -> None:
    """Remove a member: oneself, or another."""
    members.remove(orgs.changing(org_id, ANYBODY), user_id)


def list_invitations(org_id: str, status: str | None, **window: Any) -> Json:
    """An organization's invitations."""
    actor = orgs.acting(org_id)
    found = invitations.of_org(actor.org, status)
    return page(Listing(found, "items", show_invitation, (Invitation.id,)), **window)


def create_invitation(org_id: str, body: Json) -> Answer:
    """Invite somebody."""
    row = invitations.invite(orgs.changing(org_id), body["email"], body["role"], runtime().secrets)
    return created(show_invitation(row), f"/api/orgs/{row.org.uid}/invitations/{row.uid}")


def resend_invitation(org_id: str, invitation_id: str) -> Json:
    """Mail an invitation again."""
    shown: Json = show_invitation(invitations.resend(orgs.changing(org_id), invitation_id, runtime().secrets))
    return shown


def revoke_invitation(org_id: str, invitation_id: str) -> None:
    """Take an invitation back."""
    invitations.revoke(orgs.changing(org_id), invitation_id)
