"""Boxes that access is granted to at once."""

from __future__ import annotations

from typing import Any

from app.http import Answer, created, page
from app.services import audit, box_access, box_groups
from app.wire.pages import Listing
from models.boxes import BoxGroup
from models.views.boxes import BoxGroupView

Json = dict[str, Any]

show_group = BoxGroupView().dump


def list_box_groups(org_id: str, **window: Any) -> Json:
    """The org's groups."""
    found = box_groups.groups(box_access.org_of(org_id))
    return page(Listing(found, "items", show_group, (BoxGroup.id,)), **window)


def create_box_group(org_id: str, body: Json) -> Answer:
    """Make a group."""
    group = box_groups.add(box_access.org_of(org_id), body)
    _note("create", group)
    return created(show_group(group), f"/api/orgs/{org_id.lower()}/box-groups/{group.uid}")


def get_box_group(org_id: str, group_id: str) -> Json:
    """One group."""
    shown: Json = show_group(_found(org_id, group_id))
    return shown


def update_box_group(org_id: str, group_id: str, body: Json) -> Json:
    """Change a group."""
    group = box_groups.change(_found(org_id, group_id), body)
    _note("update", group, fields=sorted(body))
    shown: Json = show_group(group)
    return shown


def delete_box_group(org_id: str, group_id: str) -> None:
    """Remove a group."""
    group = _found(org_id, group_id)
    _note("delete", group, slug=group.slug)
    box_groups.remove(group)


def add_group_box(org_id: str, group_id: str, body: Json) -> Json:
    """Put a box into a group."""
    box = box_access.find(org_id, body["boxId"])
    group = box_groups.put(_found(org_id, group_id), box)
    _note("add_box", group, box=box.uid)
    shown: Json = show_group(group)
    return shown


def remove_group_box(org_id: str, group_id: str, box_id: str) -> None:
    """Take a box out of a group."""
    group, box = _found(org_id, group_id), box_access.find(org_id, box_id)
    box_groups.take(group, box)
    _note("remove_box", group, box=box.uid)


def _found(org_id: str, group_id: str) -> BoxGroup:
    return box_groups.find(box_access.org_of(org_id), group_id)


def _note(act: str, group: BoxGroup, **details: Any) -> None:
    audit.note(f"box_group.{act}", "box_group", group.uid, group.org_id, **details)
