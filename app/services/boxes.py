"""Boxes of an org: registered, changed, removed, and given new keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, delete, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import selectinload

from app.problems import conflict, forbidden, not_found
from app.security.keys import fingerprint, mint_box, shown_prefix
from app.security.principals import Principal
from app.security.secrets import Secrets
from app.services import box_access, box_groups
from app.services.box_jobs import reports
from app.services.revisions import bump
from models.base import now, session
from models.boxes import HMAC, Box, BoxGroup, BoxGroupBox
from models.identity import User
from models.orgs import Org

NAMES = {"name": "name", "ipAddress": "ip_address", "description": "description", "accessGuard": "access_guard"}


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A box's new key, this one time, and when it was made."""

    key: str = field(repr=False)
    rotated_at: datetime


def listed(principal: Principal, org: Org, filters: Mapping[str, Any]) -> Select[Box]:
    """The boxes the caller may use: in a state, in a group, silent for some seconds, with a text in what is shown."""
    boxes = box_access.accessible(principal, org).options(selectinload(Box.groups))
    if (status := filters.get("status")) is not None:
        boxes = boxes.where(Box.status == status)
    if (group := filters.get("group_id")) is not None:
        inside = select(BoxGroupBox.box_id).join(BoxGroup, BoxGroup.id == BoxGroupBox.group_id)
        boxes = boxes.where(Box.id.in_(inside.where(BoxGroup.uid == group.lower())))
    if (seconds := filters.get("heartbeat_older_than_seconds")) is not None:
        heard = Box.last_heartbeat_at
        boxes = boxes.where(or_(heard.is_(None), heard < now() - timedelta(seconds=seconds)))
    if (text := filters.get("search")) is not None:
        columns = (Box.name, Box.description, Box.ip_address)
        boxes = boxes.where(or_(*(column.icontains(text, autoescape=True) for column in columns)))
    return boxes


def add(org: Org, user_id: int | None, fields: Mapping[str, Any]) -> Box:
    """A new box; Problem 403 for somebody who has not confirmed their address, 409 when the name is taken."""
    user = session().get(User, user_id) if user_id else None
    if user is None or not user.email_verified:
        raise forbidden("Confirm your email address before you register boxes")
    box = Box(org_id=org.id, **_columns(fields))
    _store(box)
    box_groups.set_groups(box, fields.get("groupIds", ()))
    return box


def change(box: Box, fields: Mapping[str, Any]) -> Box:
    """The box with these fields changed; Problem 409 when the name is another's, 404 when a group does not exist."""
    if "groupIds" in fields:
        box_access.hold_org(box.org_id)
    for name, value in _columns(fields).items():
        setattr(box, name, value)
    box.updated_at = now()
    _store(box)
    if "groupIds" in fields:
        box_groups.set_groups(box, fields["groupIds"])
    return box


def remove(box: Box) -> None:
    """Forget a box and all that is only about it; its key is worth nothing within a second.

    A 409 Problem while it is at work on a job. Jobs that wait for it fail, for no box can take them.
    """
    box_access.hold_org(box.org_id)
    hold(box)
    if reports.is_at_work(box.id):
        raise conflict("The box is at work on a job; cancel it first")
    session().execute(delete(Box).where(Box.id == box.id))
    bump()


def rotate_key(box: Box, secrets: Secrets) -> IssuedKey:
    """Give the box another key; the old one ends in every worker within a second."""
    key, moment = mint_box(), now()
    hold(box)
    box.key_hash, box.hash_algorithm = fingerprint(key, secrets.pepper), HMAC
    box.key_prefix, box.key_rotated_at = shown_prefix(key), moment
    session().flush()
    bump()
    return IssuedKey(key, moment)


def hold(box: Box) -> Box:
    """The box as it is now, held until the transaction ends; a 404 Problem when somebody removed it meanwhile."""
    held = select(Box).where(Box.id == box.id).with_for_update(key_share=True)
    if session().scalar(held, execution_options={"populate_existing": True}) is None:
        raise not_found("Box")
    return box


def _columns(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {column: fields[name] for name, column in NAMES.items() if name in fields}


def _store(box: Box) -> None:
    """Write the box; whoever has the name first keeps it."""
    try:
        with session().begin_nested():
            session().add(box)
            session().flush()
    except IntegrityError:
        raise conflict("A box with this name exists", field="name") from None
