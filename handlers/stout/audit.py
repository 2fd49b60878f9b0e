"""Who did what in an organization: read page by page, or taken away in one piece."""

from __future__ import annotations

import asyncio
from typing import Any

from app.http import page
from app.runtime import runtime
from app.services import audit, audit_export, orgs
from app.services.audit import Filters
from app.services.audit_export import WRITERS
from app.wire.call import Call
from app.wire.moments import moment
from app.wire.pages import Listing
from app.wire.replies import Reply
from models.audit import AuditEntry
from models.base import now
from models.views.audit import shown_in

Json = dict[str, Any]


def list_audit_log(org_id: str, **asked: Any) -> Json:
    """An organization's entries, newest first."""
    window = {name: asked.pop(name) for name in ("page", "limit")}
    org = orgs.acting(org_id).org
    listing = Listing(audit.of_org(org, _filters(**asked)), "items", lambda row: shown_in(org, row), (AuditEntry.id,))
    return page(listing, **window)


async def export_audit_log(call: Call, org_id: str, format_: str, **asked: Any) -> Reply:  # noqa: ARG001 (every async handler gets it)
    """All that match, as JSON or CSV."""
    export = await asyncio.to_thread(audit_export.begin, runtime().engine, org_id, _filters(**asked))
    media, write = WRITERS[format_]
    name = f"audit-log-{export.org.slug}-{now():%Y%m%dT%H%M%SZ}.{format_}"
    headers = {
        "content-type": media,
        "content-disposition": f'attachment; filename="{name}"',
        "x-total-count": str(export.total),
        "cache-control": "no-store",
    }
    return Reply(200, [(key.encode(), value.encode()) for key, value in headers.items()], chunks=write(export))


def _filters(from_: str | None, to: str | None, **equal: Any) -> Filters:
    return Filters(since=moment(from_) if from_ else None, until=moment(to) if to else None, **equal)
