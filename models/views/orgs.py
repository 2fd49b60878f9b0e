"""How orgs, their members, invitations and teams are shown. The org itself is at hand when they are."""

from __future__ import annotations

from marshmallow.fields import Boolean, Function, Integer, Nested, String

from models.base import now
from models.orgs import Invitation
from models.views import View
from models.views.fields import Timestamp, rfc3339


class OrgView(View):
    """An org, as a member sees it."""

    id = String(attribute="uid")
    name = String()
    slug = String()
    isPersonal = Boolean(attribute="is_personal")  # noqa: N815 (the contract's name)
    memberCount = Integer(attribute="member_count")  # noqa: N815
    boxCount = Integer(attribute="box_count")  # noqa: N815
    role = String()
    createdAt = Timestamp(attribute="created_at")  # noqa: N815
    updatedAt = Timestamp(attribute="updated_at")  # noqa: N815


class OrgUserView(View):
    """A user, as other members see one."""

    id = String(attribute="uid")
    email = String()
    displayName = String(attribute="name")  # noqa: N815


class MembershipView(View):
    """A user in an org."""

    id = String(attribute="uid")
    orgId = String(attribute="org.uid")  # noqa: N815
    userId = String(attribute="user.uid")  # noqa: N815
    role = String()
    user = Nested(OrgUserView)
    joinedAt = Timestamp(attribute="joined_at")  # noqa: N815
    createdAt = Function(lambda member: rfc3339(member.joined_at))  # noqa: N815
    updatedAt = Timestamp(attribute="updated_at")  # noqa: N815


def standing(invitation: Invitation) -> str:
    """The status as it is now: a pending invitation ends by itself."""
    over = invitation.status == "pending" and invitation.expires_at <= now()
    return "expired" if over else invitation.status


class InvitationView(View):
    """An invitation, without its token."""

    id = String(attribute="uid")
    orgId = String(attribute="org.uid")  # noqa: N815
    email = String()
    role = String()
    status = Function(standing)
    invitedById = String(attribute="invited_by.uid")  # noqa: N815
    expiresAt = Timestamp(attribute="expires_at")  # noqa: N815
    acceptedAt = Timestamp(attribute="accepted_at")  # noqa: N815
    createdAt = Timestamp(attribute="created_at")  # noqa: N815
    updatedAt = Timestamp(attribute="updated_at")  # noqa: N815


class TeamView(View):
    """A team."""

    id = String(attribute="uid")
    orgId = String(attribute="org.uid")  # noqa: N815
    name = String()
    slug = String()
    memberCount = Integer(attribute="member_count")  # noqa: N815
    createdAt = Timestamp(attribute="created_at")  # noqa: N815
    updatedAt = Timestamp(attribute="updated_at")  # noqa: N815


class TeamMemberView(View):
    """Somebody in a team."""

    id = String(attribute="user.uid")
    email = String(attribute="user.email")
    displayName = String(attribute="user.name")  # noqa: N815
    joinedAt = Timestamp(attribute="joined_at")  # noqa: N815
