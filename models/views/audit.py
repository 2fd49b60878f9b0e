"""How entries of the audit log are shown."""

from __future__ import annotations

from typing import Any

from marshmallow.fields import Dict, String

from models.audit import AuditEntry
from models.orgs import Org
from models.views import View
from models.views.fields import Timestamp


class AuditEntryView(View):
    """One act."""

    id = String(attribute="uid")
    actorType = String(attribute="actor_type")  # noqa: N815 (the contract's name)
    actorId = String(attribute="actor.uid")  # noqa: N815
    actorEmail = String(attribute="actor_email")  # noqa: N815
    action = String()
    resourceType = String(attribute="resource_type")  # noqa: N815
    resourceId = String(attribute="resource_id")  # noqa: N815
    metadata = Dict(attribute="details")
    requestId = String(attribute="request_id")  # noqa: N815
    ipAddress = String(attribute="ip_address")  # noqa: N815
    createdAt = Timestamp(attribute="created_at")  # noqa: N815


_show = AuditEntryView().dump


def shown_in(org: Org, entry: AuditEntry) -> dict[str, Any]:
    """An entry of this org's log."""
    shown: dict[str, Any] = _show(entry)
    return shown | {"orgId": org.uid}
