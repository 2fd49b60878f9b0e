"""Having a box to oneself."""

from __future__ import annotations

from typing import Any

from app.http import caller
from app.problems import forbidden
from app.services import accounts, audit, box_access, locks
from app.services.locks import Lock
from models.views.boxes import lock_of

Json = dict[str, Any]


def get_box_lock(org_id: str, box_id: str) -> Json:
    """Who holds a box."""
    return lock_of(box_access.usable(org_id, box_id, caller()))


def lock_box(org_id: str, box_id: str, body: Json | None) -> Json:
    """Take or renew the lock."""
    asked = body or {}
    box = box_access.usable(org_id, box_id, caller())
    wanted = Lock(_me(), ttl_s=asked.get("ttlSeconds"), reason=asked.get("reason"))
    locks.take(box, wanted)
    audit.note("box.lock", "box", box.uid, box.org_id, ttlSeconds=wanted.ttl_s)
    return lock_of(box)


def unlock_box(org_id: str, box_id: str, body: Json | None) -> Json:
    """Give a box back."""
    force = bool((body or {}).get("force"))
    box = box_access.usable(org_id, box_id, caller())
    if force and not box_access.manages(caller(), box.org):
        raise forbidden("Only an owner or admin of the organization may end another's lock")
    held = box.lock_user
    locks.give_back(box, _me(), force=force)
    if held is not None:
        audit.note("box.unlock", "box", box.uid, box.org_id, holder=held, force=force)
    return lock_of(box)


def _me() -> str:
    """The caller as the holder of a lock."""
    return locks.holder(accounts.get_user(caller().user_id or 0))
