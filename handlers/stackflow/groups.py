"""Groups of the service desk, and the people who can be in them."""

from __future__ import annotations

from functools import cache
from typing import Any

from app.http import Answer, created, page
from app.services import audit, desk_groups
from app.services.desk import acting
from app.wire.pages import Listing
from models.desk import DeskGroup
from models.orgs import Membership
from models.views.desk import GroupView, person

Json = dict[str, Any]

show_group = GroupView().dump


def list_desk_groups(**window: Any) -> Json:
    """The tenant's groups, by name."""
    found, key = desk_groups.groups(acting()), (DeskGroup.name, DeskGroup.id)
    return page(Listing(found, "data", show_group, key, descending=False), **window)


def create_desk_group(body: Json) -> Answer:
    """Make a group."""
    group = desk_groups.add(acting(), body)
    audit.note("desk.group.create", "desk_group", group.uid, group.org_id)
    return created(show_group(group), f"/prod/api/v1/groups/{group.uid}")


def get_desk_group(id_: str) -> Json:
    """One group."""
    shown: Json = show_group(desk_groups.get(acting(), id_))
    return shown


def update_desk_group_members(id_: str, body: Json) -> Json:
    """Change who is in a group."""
    group = desk_groups.change_members(acting(), id_, body.get("add", ()), body.get("remove", ()))
    audit.note("desk.group.members", "desk_group", group.uid, group.org_id)
    shown: Json = show_group(group)
    return shown


def list_desk_users(limit: int, cursor: str | None, **filters: Any) -> Json:
    """The tenant's people, newest first."""
    actor = acting()
    names = cache(lambda: desk_groups.names_by_user(actor))
    listing = Listing(
        desk_groups.people(actor, filters), "data", lambda m: person(m, names().get(m.user_id, [])), (Membership.id,)
    )
    return page(listing, limit=limit, cursor=cursor)


def get_desk_user(id_: str) -> Json:
    """Somebody of the tenant."""
    actor = acting()
    member = desk_groups.person(actor, id_)
    return person(member, desk_groups.names_by_user(actor).get(member.user_id, []))
