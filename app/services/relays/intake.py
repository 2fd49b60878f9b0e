"""What is sent to a relay: proven to be its sender's, and stored with the work it is, all in one transaction."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app import engine
from app.problems import Problem, unauthorized
from app.runtime import runtime
from app.security.sealing import seal
from app.services.relays.relay import Relay, find, unusable
from app.services.webhooks import signing
from app.wire.call import current
from app.wire.replies import too_large
from models.base import now, transaction
from models.identity import User
from models.relays import RelayDelivery

Json = dict[str, Any]
TASK: Final = "relay"
LOCK: Final = 7_201_929
MOST_BYTES: Final = 262_144
MINUTE: Final = timedelta(minutes=1)


def owner_of(uid: str) -> str:
    """What a sealed prompt is bound to."""
    return f"relay:{uid}"


def receive(name: str, payload: Json) -> Json:
    """Take what a third party sends; Problem 401 when it is not its sender's, 404, 413, 422, 429 or 503."""
    relay, call = find(name), current()
    if len(call.raw) > MOST_BYTES:
        raise too_large(MOST_BYTES)
    if not signing.is_signed(relay.secret, call.headers, call.raw, now()):
        message = "It is not signed with this relay's secret, or not within the last five minutes (Standard Webhooks)"
        raise unauthorized(message, challenge="StandardWebhooks")
    if not relay.takes(payload):
        return {"status": "ignored", "relay": name}
    prompt = relay.asked(payload)
    with transaction(runtime().engine) as opened:
        _one_at_a_time(opened)
        uid = _known(opened, name, call.headers[signing.ID]) or _stored(opened, relay, call.headers[signing.ID], prompt)
    return {"status": "accepted", "relay": name, "id": uid}


def _one_at_a_time(session: Session) -> None:
    """Wait until nobody else counts deliveries; SQLite has one writer anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})


def _known(session: Session, name: str, message: str) -> str | None:
    same = (RelayDelivery.relay == name, RelayDelivery.message == message)
    return session.scalar(select(RelayDelivery.uid).where(*same))


def _stored(session: Session, relay: Relay, message: str, prompt: str) -> str:
    """The id of a new delivery, and its work; Problem 429 or 503."""
    moment = now()
    _hold_rate(session, relay, moment)
    user = session.get(User, relay.user, with_for_update={"read": True, "key_share": True})
    if user is None or not user.is_active:
        raise unusable()
    uid = f"rd_{secrets.token_hex(12)}"
    whose = {"user_id": user.id, "project": relay.project, "model": relay.model, "max_tokens": relay.max_tokens}
    row = RelayDelivery(uid=uid, relay=relay.name, message=message, created_at=moment, **whose)
    row.sealed_prompt = seal(prompt, owner_of(uid), runtime().secrets)
    session.add(row)
    session.flush()
    engine.submit(TASK, f"{row.id}.1")
    return uid


def _hold_rate(session: Session, relay: Relay, moment: datetime) -> None:
    """Problem 429 once the relay took as many as it may in the last minute."""
    lately = (RelayDelivery.relay == relay.name, RelayDelivery.created_at > moment - MINUTE)
    count, first = session.execute(select(func.count(), func.min(RelayDelivery.created_at)).where(*lately)).one()
    if count >= relay.per_minute:
        wait = max(1, int((first + MINUTE - moment).total_seconds()) + 1)
        message = f"This relay takes {relay.per_minute} deliveries a minute. Retry after {wait}s."
        raise Problem(429, message, headers={"retry-after": str(wait)})
