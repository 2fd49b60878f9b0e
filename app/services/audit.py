"""The audit log's one door: an entry for each act, in the transaction of the act itself, and the ways to read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import joinedload

from app.wire.call import current
from app.wire.moments import LATEST
from models.audit import AuditEntry
from models.base import session
from models.identity import User
from models.orgs import Org

# Entries are shown to the millisecond: whoever asks up to a moment they were shown means all of that millisecond.
SHOWN = timedelta(microseconds=999)
FAMILY = ".*"


@dataclass(frozen=True, slots=True)
class Filters:
    """Which entries: by whom (a user's UUID), of which act or family of acts, to what, and when, both ends included."""

    actor_id: str | None = None
    action: str | None = None
    resource_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None


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


def of_org(org: Org, filters: Filters) -> Select[AuditEntry]:
    """An org's entries, with who acted."""
    found = select(AuditEntry).where(AuditEntry.org_id == org.id, *_conditions(filters))
    return found.options(joinedload(AuditEntry.actor))


def _conditions(filters: Filters) -> Iterator[ColumnElement[bool]]:
    if filters.actor_id:
        actor = select(User.id).where(User.uid == filters.actor_id.lower())
        yield AuditEntry.actor_id == actor.scalar_subquery()
    if filters.action:
        yield _acted(filters.action)
    if filters.resource_type:
        yield AuditEntry.resource_type == filters.resource_type
    if filters.since:
        yield AuditEntry.created_at >= filters.since
    if filters.until:
        yield AuditEntry.created_at <= min(filters.until, LATEST - SHOWN) + SHOWN


def _acted(action: str) -> ColumnElement[bool]:
    if not action.endswith(FAMILY):
        return AuditEntry.action == action
    return AuditEntry.action.startswith(action.removesuffix("*"), autoescape=True)
