"""What a box itself asks: how to become one, and what it is to know."""

from __future__ import annotations

from typing import Any

from app.http import Answer, caller, page
from app.runtime import runtime
from app.services import access, audit, box_presence, enrolment
from app.wire.pages import Listing
from models.sessions import SshKey
from models.views.boxes import AuthorizedKeyView, BoxView
from models.views.fields import rfc3339

Json = dict[str, Any]

show_key = AuthorizedKeyView().dump


def get_install_script(token: str) -> Answer:
    """The script that makes a machine the box of the token."""
    script = enrolment.script(token, runtime().settings.base_url, runtime().secrets)
    return Answer(script, headers={"cache-control": "no-store"}, media_type="text/x-shellscript")


def enroll_box(body: Json) -> Json:
    """Exchange a token for a key."""
    box, issued = enrolment.enrol(body["token"], body.get("hostname"), body.get("lagerVersion"), runtime().secrets)
    audit.note("box.enroll", "box", box.uid, box.org_id, hostname=box.hostname)
    control = {
        "url": runtime().settings.base_url,
        "api_key": issued.key,
        "heartbeat_interval_seconds": box_presence.INTERVAL_S,
        "enabled": True,
    }
    return {"boxId": box.uid, "orgId": box.org.uid, "controlPlane": control}


def get_own_box() -> Json:
    """The calling box."""
    shown: Json = BoxView().dump(enrolment.of_caller(caller()))
    return shown


def send_heartbeat(body: Json) -> Json:
    """Take a heartbeat."""
    box = enrolment.of_caller(caller(), held=True)
    taken = box_presence.receive(box, body)
    told = {"type": "ack", "boxId": box.uid, "serverTime": rfc3339(taken)}
    return told | {"heartbeatIntervalSeconds": box_presence.INTERVAL_S}


def list_authorized_keys(**window: Any) -> Json:
    """The SSH keys of everybody who may use the calling box."""
    found = access.authorized_keys(enrolment.of_caller(caller()))
    return page(Listing(found, "items", show_key, (SshKey.id,)), **window)
