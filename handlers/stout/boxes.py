"""Boxes of an org: registered, set up, heard of, and given new keys."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.http import Answer, caller, created, page
from app.runtime import runtime
from app.services import audit, box_access, box_presence, boxes, enrolment
from app.services.enrolment import Setup
from app.wire.moments import moment
from app.wire.pages import Listing
from models.boxes import Box, Heartbeat
from models.views.boxes import BoxView, heartbeat
from models.views.fields import rfc3339

Json = dict[str, Any]

show_box = BoxView().dump


def list_boxes(org_id: str, limit: int, **asked: Any) -> Json:
    """The boxes the caller may use."""
    number = asked.pop("page")
    found = boxes.listed(caller(), box_access.org_of(org_id), asked)
    return page(Listing(found, "items", show_box, (Box.id,)), limit=limit, page=number)


def create_box(org_id: str, body: Json) -> Answer:
    """Register a box."""
    org = box_access.org_of(org_id)
    box = boxes.add(org, caller().user_id, body)
    audit.note("box.register", "box", box.uid, org.id, name=box.name)
    told = {"box": show_box(box), "setup": _setup(box)}
    return created(told, f"/api/orgs/{org.uid}/boxes/{box.uid}")


def get_box(org_id: str, box_id: str) -> Json:
    """One box."""
    shown: Json = show_box(box_access.usable(org_id, box_id, caller()))
    return shown


def update_box(org_id: str, box_id: str, body: Json) -> Json:
    """Change a box."""
    box = boxes.change(box_access.find(org_id, box_id), body)
    audit.note("box.update", "box", box.uid, box.org_id, fields=sorted(body))
    shown: Json = show_box(box)
    return shown


def delete_box(org_id: str, box_id: str) -> None:
    """Remove a box."""
    box = box_access.find(org_id, box_id)
    audit.note("box.delete", "box", box.uid, box.org_id, name=box.name)
    boxes.remove(box)


def create_box_setup(org_id: str, box_id: str) -> Json:
    """A new setup of a box."""
    box = box_access.find(org_id, box_id)
    audit.note("box.setup", "box", box.uid, box.org_id)
    return _setup(box)


def rotate_box_key(org_id: str, box_id: str) -> Json:
    """Another key for a box."""
    box = box_access.find(org_id, box_id)
    issued = boxes.rotate_key(box, runtime().secrets)
    audit.note("box.rotate_key", "box", box.uid, box.org_id)
    return {"apiKey": issued.key, "rotatedAt": rfc3339(issued.rotated_at)}


def list_heartbeats(org_id: str, box_id: str, since: str | None, until: str | None, **window: Any) -> Json:
    """What a box said of itself, newest first."""
    box = box_access.usable(org_id, box_id, caller())
    found = box_presence.heartbeats(box, _read(since), _read(until))
    key = (Heartbeat.received_at, Heartbeat.id)
    return page(Listing(found, "items", lambda row: heartbeat(row, box), key), **window)


def _read(text: str | None) -> datetime | None:
    return None if text is None else moment(text)


def _setup(box: Box) -> Json:
    made: Setup = enrolment.prepare(box, caller().user_id, runtime().secrets)
    command = made.command(runtime().settings.base_url)
    return {"command": command, "token": made.token, "expiresAt": rfc3339(made.expires_at)}
