"""How boxes, their locks, groups, grants and heartbeats are shown."""

from __future__ import annotations

from typing import Any

from marshmallow.fields import Boolean, Dict, Function, Integer, String

from models.base import now
from models.boxes import AccessGrant, Box, Heartbeat
from models.identity import User
from models.orgs import Team
from models.views import View
from models.views.fields import Timestamp

Json = dict[str, Any]


class LockView(View):
    """A lock that somebody holds."""

    user = String(attribute="lock_user")
    holderType = String(attribute="lock_holder_type")  # noqa: N815 (the contract's name)
    reason = String(attribute="lock_reason")
    lockedAt = Timestamp(attribute="locked_at")  # noqa: N815
    lastHeartbeat = Timestamp(attribute="lock_beat_at")  # noqa: N815
    ttlSeconds = Integer(attribute="lock_ttl_s")  # noqa: N815


def lock_of(box: Box) -> Json:
    """Who holds a box; a lock whose time is over is none."""
    if box.lock_user is None or (box.lock_expires_at is not None and box.lock_expires_at <= now()):
        return {"locked": False}
    shown: Json = LockView().dump(box)
    return {"locked": True} | shown


class BoxView(View):
    """A box, without its key."""

    id = String(attribute="uid")
    orgId = String(attribute="org.uid")  # noqa: N815
    name = String()
    description = String()
    ipAddress = String(attribute="ip_address")  # noqa: N815
    status = String()
    hostname = String()
    hardware = Dict()
    lagerVersion = String(attribute="lager_version")  # noqa: N815
    agentVersion = String(attribute="agent_version")  # noqa: N815
    lastHeartbeatAt = Timestamp(attribute="last_heartbeat_at")  # noqa: N815
    capabilities = Dict()
    lock = Function(lock_of)
    groupIds = Function(lambda box: [group.uid for group in box.groups])  # noqa: N815
    accessGuard = Boolean(attribute="access_guard")  # noqa: N815
    deviceCount = Integer(attribute="device_count")  # noqa: N815
    apiKeyPrefix = String(attribute="key_prefix")  # noqa: N815
    apiKeyRotatedAt = Timestamp(attribute="key_rotated_at")  # noqa: N815
    createdAt = Timestamp(attribute="created_at")  # noqa: N815
    updatedAt = Timestamp(attribute="updated_at")  # noqa: N815


class BoxGroupView(View):
    """A group of boxes."""

    id = String(attribute="uid")
    orgId = String(attribute="org.uid")  # noqa: N815
    name = String()
    slug = String()
    description = String()
    boxCount = Integer(attribute="box_count")  # noqa: N815
    createdAt = Timestamp(attribute="created_at")  # noqa: N815
    updatedAt = Timestamp(attribute="updated_at")  # noqa: N815


class HeartbeatView(View):
    """A heartbeat."""

    id = String(attribute="uid")
    receivedAt = Timestamp(attribute="received_at")  # noqa: N815
    status = Dict()
    agentVersion = String(attribute="agent_version")  # noqa: N815
    metrics = Dict()
    deviceCount = Integer(attribute="device_count")  # noqa: N815


def heartbeat(row: Heartbeat, box: Box) -> Json:
    """A heartbeat of a box."""
    shown: Json = HeartbeatView().dump(row)
    return shown | {"boxId": box.uid}


def person(user: User) -> Json:
    """Who may use a box, in short."""
    return {"id": user.uid, "email": user.email, "displayName": user.name}


def _whom(grant: AccessGrant) -> Json | None:
    return person(grant.user) if grant.user else None


def _which(team: Team | None) -> Json | None:
    return {"id": team.uid, "name": team.name, "slug": team.slug} if team else None


class GrantView(View):
    """A grant, with whom it is to."""

    id = String(attribute="uid")
    targetType = Function(lambda grant: "box" if grant.box_id else "group")  # noqa: N815
    targetId = Function(lambda grant: (grant.box or grant.group).uid)  # noqa: N815
    userId = String(attribute="user.uid")  # noqa: N815
    user = Function(_whom)
    teamId = String(attribute="team.uid")  # noqa: N815
    team = Function(lambda grant: _which(grant.team))
    grantedById = String(attribute="granted_by.uid")  # noqa: N815
    createdAt = Timestamp(attribute="created_at")  # noqa: N815


class AuthorizedKeyView(View):
    """The SSH key of somebody who may use a box."""

    id = String(attribute="uid")
    userId = String(attribute="user.uid")  # noqa: N815
    email = String(attribute="user.email")
    name = String()
    publicKey = String(attribute="public_key")  # noqa: N815
    fingerprint = String()
