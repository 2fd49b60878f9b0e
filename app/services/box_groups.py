"""Groups of boxes: made, changed, and which boxes are in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Select, delete, select
from sqlalchemy.exc import IntegrityError

from app.problems import conflict, not_found
from app.services.box_access import hold_org
from models.base import session
from models.boxes import Box, BoxGroup, BoxGroupBox
from models.orgs import Org

NAMES = ("name", "slug", "description")


def groups(org: Org) -> Select[BoxGroup]:
    """The org's groups."""
    return select(BoxGroup).where(BoxGroup.org_id == org.id)


def find(org: Org, uid: str) -> BoxGroup:
    """A group of the org; a 404 Problem when it has none of that id."""
    group = session().scalar(groups(org).where(BoxGroup.uid == uid.lower()))
    if group is None:
        raise not_found("Box group")
    return group


def add(org: Org, fields: Mapping[str, Any]) -> BoxGroup:
    """A new group; Problem 409 when the slug is taken, 404 when one of the boxes does not exist."""
    group = BoxGroup(org_id=org.id, **_columns(fields))
    _store(group)
    return _with_boxes(group, fields)


def change(group: BoxGroup, fields: Mapping[str, Any]) -> BoxGroup:
    """The group with these fields changed; Problems as for `add`."""
    for name, value in _columns(fields).items():
        setattr(group, name, value)
    _store(group)
    return _with_boxes(group, fields)


def remove(group: BoxGroup) -> None:
    """Forget a group and what was granted by it; its boxes stay."""
    hold_org(group.org_id)
    session().execute(delete(BoxGroup).where(BoxGroup.id == group.id))


def put(group: BoxGroup, box: Box) -> BoxGroup:
    """Put a box into a group; a 409 Problem when it is in it."""
    hold_org(group.org_id)
    pair = {"group_id": group.id, "box_id": box.id}
    if session().get(BoxGroupBox, pair) is not None:
        raise conflict("The box is in this group already", field="boxId")
    session().add(BoxGroupBox(**pair))
    return _fresh(group)


def take(group: BoxGroup, box: Box) -> None:
    """Take a box out of a group; a 404 Problem when it is not in it."""
    hold_org(group.org_id)
    pair = delete(BoxGroupBox).where(BoxGroupBox.group_id == group.id, BoxGroupBox.box_id == box.id)
    if session().execute(pair.returning(BoxGroupBox.box_id)).first() is None:
        raise not_found("Box")


def set_groups(box: Box, uids: Iterable[str]) -> None:
    """Put the box into these groups of its org and no others; a 404 Problem when one of them does not exist."""
    hold_org(box.org_id)
    found = _found(BoxGroup, box.org_id, uids, "Box group")
    session().execute(delete(BoxGroupBox).where(BoxGroupBox.box_id == box.id))
    session().add_all(BoxGroupBox(group_id=group_id, box_id=box.id) for group_id in found)
    session().flush()
    session().refresh(box, ["groups"])


def _with_boxes(group: BoxGroup, fields: Mapping[str, Any]) -> BoxGroup:
    """Put the boxes named into the group, and take all others out."""
    if "boxIds" in fields:
        hold_org(group.org_id)
        found = _found(Box, group.org_id, fields["boxIds"], "Box")
        session().execute(delete(BoxGroupBox).where(BoxGroupBox.group_id == group.id))
        session().add_all(BoxGroupBox(group_id=group.id, box_id=box_id) for box_id in found)
    return _fresh(group)


def _found(model: type[Box | BoxGroup], org_id: int, uids: Iterable[str], what: str) -> list[int]:
    """The ids of those things of the org, each once; a 404 Problem when one of them does not exist."""
    wanted = {uid.lower() for uid in uids}
    mine = select(model.id).where(model.org_id == org_id, model.uid.in_(wanted))
    found = list(session().scalars(mine.order_by(model.id))) if wanted else []
    if len(found) < len(wanted):
        raise not_found(what)
    return found


def _columns(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: fields[name] for name in NAMES if name in fields}


def _store(group: BoxGroup) -> None:
    try:
        with session().begin_nested():
            session().add(group)
            session().flush()
    except IntegrityError:
        raise conflict("A box group with this slug exists", field="slug") from None


def _fresh(group: BoxGroup) -> BoxGroup:
    session().flush()
    session().refresh(group)
    return group
