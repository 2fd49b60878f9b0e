"""How people, their sessions and their SSH keys are shown to clients of the fleet and of the job engine."""

from __future__ import annotations

from typing import Any

from marshmallow.fields import Boolean, Function, Integer, String

from models.identity import User
from models.views import View
from models.views.fields import Timestamp


class AccountView(View):
    """A user, as the fleet shows one."""

    id = String(attribute="uid")
    email = String()
    displayName = String(attribute="name")  # noqa: N815 (the contract's name)
    emailVerified = Boolean(attribute="email_verified")  # noqa: N815
    mfaEnabled = Boolean(attribute="mfa_enabled")  # noqa: N815
    isPlatformAdmin = Boolean(attribute="is_admin")  # noqa: N815
    lastLoginAt = Timestamp(attribute="last_login_at")  # noqa: N815
    createdAt = Timestamp(attribute="created_at")  # noqa: N815
    updatedAt = Timestamp(attribute="updated_at")  # noqa: N815


class JobUserView(View):
    """A user, as the job engine shows one."""

    id = Integer()
    email = String()
    role = Function(lambda user: "admin" if user.is_admin else "user")
    is_active = Boolean()
    email_verified = Boolean()
    locale = String()
    created_at = Timestamp(timespec="seconds")
    last_login_at = Timestamp(timespec="seconds")


class ManagedUserView(JobUserView):
    """A user, as those who operate the server see one."""

    name = String()
    mfa_enabled = Boolean()


class InvitationCodeView(View):
    """A code to sign up with, by its first characters only."""

    id = Integer()
    hint = String()
    note = String()
    max_uses = Integer()
    uses = Integer()
    created_by = Integer(attribute="created_by_id")
    created_at = Timestamp(timespec="seconds")
    expires_at = Timestamp(timespec="seconds")


def person(user: User) -> dict[str, Any]:
    """A user as both show one; the id is the fleet's."""
    both: dict[str, Any] = JobUserView().dump(user) | AccountView().dump(user)
    return both


class SessionView(View):
    """A session, by its refresh token in force."""

    id = String(attribute="uid")
    familyId = String(attribute="family")  # noqa: N815
    userAgent = String(attribute="user_agent")  # noqa: N815
    ipAddress = String(attribute="ip_address")  # noqa: N815
    createdAt = Timestamp(attribute="created_at")  # noqa: N815
    lastUsedAt = Timestamp(attribute="last_used_at")  # noqa: N815
    expiresAt = Timestamp(attribute="expires_at")  # noqa: N815


class SshKeyView(View):
    """An SSH key."""

    id = String(attribute="uid")
    name = String()
    publicKey = String(attribute="public_key")  # noqa: N815
    fingerprint = String()
    createdAt = Timestamp(attribute="created_at")  # noqa: N815
