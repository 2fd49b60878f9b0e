"""The audit log's one door: an entry for each act, in the transaction of the act itself."""

from __future__ import annotations

from typing import Any

from app.wire.call import current
from models.audit import AuditEntry
from models.base import session
from models.identity import User


def note(
    action: str,
    resource_type: str,
    resource_id: str | None,
    org_id: int | None = None,
    actor: User | None = None,
    **details: Any,
) -> None:
    """Record an act of the calling user, or of `actor` where the request itself proves who acts, such as a login."""
    call = current()
    who = call.principal
    entry = AuditEntry(action=action, resource_type=resource_type, resource_id=resource_id, org_id=org_id)
    entry.actor_id = actor.id if actor else who.user_id
    entry.actor_email = (actor.email if actor else who.email) or None
    entry.actor_type = "user" if entry.actor_id or who.is_admin else "system"
    entry.details, entry.request_id, entry.ip_address = details, call.request_id, call.client or None
    session().add(entry)
