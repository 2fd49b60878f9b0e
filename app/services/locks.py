"""Locks of boxes: one holder at a time, taken, renewed and given back by single conditional updates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, literal, or_, select, true, update

from app.problems import Problem, conflict, not_found
from models.base import Moment, now, session
from models.boxes import Box
from models.identity import User
from models.views.boxes import lock_of

STOUT = "stout"
NOBODY: Mapping[str, None] = dict.fromkeys(
    ("lock_user", "lock_holder_type", "lock_reason", "locked_at", "lock_beat_at", "lock_ttl_s", "lock_expires_at")
)


@dataclass(frozen=True, slots=True)
class Lock:
    """What a holder asks for. `ttl_s` is how many seconds it is good for; None for a lock without an end."""

    user: str
    holder_type: str = STOUT
    ttl_s: int | None = None
    reason: str | None = None


def holder(user: User) -> str:
    """How a user is written as the holder of a lock."""
    return f"{STOUT}:{user.uid}:{user.email}"


def take(box: Box, lock: Lock) -> Box:
    """Take or renew the lock; a 409 Problem while another holds it. Of many at once one gets it."""
    if not acquire(box, lock):
        raise conflict(f"The box is locked by {box.lock_user}", lock=lock_of(box))
    return box


def acquire(box: Box, lock: Lock) -> bool:
    """Take or renew the lock; false while another holds it."""
    moment = now()
    return _update(box, or_(_free(moment), Box.lock_user == lock.user), _held(lock, moment))


def give_back(box: Box, user: str, *, force: bool) -> Box:
    """End the lock, with `force` whoever's it is; a 403 Problem while another holds it. A free box is fine."""
    if not release(box, user, force=force):
        raise Problem(403, f"The box is locked by {box.lock_user}", details={"lock": lock_of(box)})
    return box


def release(box: Box, user: str, *, force: bool = False) -> bool:
    """End the lock; false while another holds it."""
    return _update(box, true() if force else or_(_free(now()), Box.lock_user == user), NOBODY)


def mirror(box: Box, reported: Mapping[str, Any]) -> None:
    """Keep the lock that the box's own tools hold, as its heartbeat tells it; one that was taken here stands."""
    moment, user, kind = now(), reported.get("user"), reported.get("holderType", "user")
    if not reported["locked"]:
        _update(box, Box.lock_holder_type != STOUT, NOBODY)
    elif user and kind != STOUT and not user.startswith(f"{STOUT}:"):
        theirs = or_(_free(moment), Box.lock_holder_type != STOUT)
        _update(box, theirs, _held(Lock(user, kind, reported.get("ttlSeconds")), moment))


def _held(lock: Lock, moment: datetime) -> dict[str, Any]:
    """The columns of a lock taken now; who holds it already goes on from when they took it."""
    return {
        "lock_user": lock.user,
        "lock_holder_type": lock.holder_type,
        "lock_reason": lock.reason,
        "locked_at": case(
            (and_(Box.lock_user == lock.user, ~_free(moment)), Box.locked_at), else_=literal(moment, Moment())
        ),
        "lock_beat_at": moment,
        "lock_ttl_s": lock.ttl_s,
        "lock_expires_at": None if lock.ttl_s is None else moment + timedelta(seconds=lock.ttl_s),
    }


def _free(moment: datetime) -> ColumnElement[bool]:
    """The condition that nobody holds the box at this moment."""
    return or_(Box.lock_user.is_(None), and_(Box.lock_expires_at.is_not(None), Box.lock_expires_at <= moment))


def _update(box: Box, condition: ColumnElement[bool], values: Mapping[str, Any]) -> bool:
    """Change the box if the condition holds once it is this caller's turn; `box` is as stored then, either way."""
    changed = update(Box).where(Box.id == box.id, condition).values(**values).returning(Box.id)
    done = session().execute(changed, execution_options={"synchronize_session": False}).first() is not None
    seen = select(Box).where(Box.id == box.id).execution_options(populate_existing=True)
    if session().scalar(seen) is None:
        raise not_found("Box")
    return done
