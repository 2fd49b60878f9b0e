"""Organizations: one's own, and their names."""

from __future__ import annotations

from typing import Any

from app.http import Answer, caller, created, page, transact
from app.services import accounts, orgs
from app.services.orgs import OWNERS
from app.wire.pages import Listing
from models.orgs import Org
from models.views.orgs import OrgView

Json = dict[str, Any]

show_org = OrgView().dump


def list_orgs(**window: Any) -> Json:
    """The caller's organizations."""
    return page(Listing(orgs.of_user(caller().user_id or 0), "items", show_org, (Org.id,)), **window)


def create_org(body: Json) -> Answer:
    """Make an organization that the caller owns."""
    org = orgs.create(accounts.get_user(caller().user_id or 0), body["name"], body["slug"])
    return created(show_org(org), f"/api/orgs/{org.uid}")


def get_org(org_id: str) -> Json:
    """One organization."""
    actor = orgs.acting(org_id)
    return _shown(orgs.seen(actor.org, actor.user))


def update_org(org_id: str, body: Json) -> Json:
    """Change its name or slug."""
    return _shown(orgs.update(orgs.changing(org_id), body))


def delete_org(org_id: str) -> None:
    """Delete it with all that is in it."""
    with transact():
        left = orgs.remove(orgs.changing(org_id, OWNERS, wholly=True))
    for file in left:
        file.unlink(missing_ok=True)


def _shown(org: Org) -> Json:
    shown: Json = show_org(org)
    return shown
