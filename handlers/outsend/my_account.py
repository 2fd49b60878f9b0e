"""One's own account, by the session cookie: password, address, a copy of one's data, erasure."""

from __future__ import annotations

import asyncio
from typing import Any

from app.http import Answer, caller, forgetting, keeping, transact
from app.problems import Problem, conflict
from app.runtime import runtime
from app.security import passwords
from app.security.credentials import SESSION_COOKIE
from app.services import audit, erasure, people, personal_export, recovery, sessions
from app.wire.call import Call
from app.wire.replies import JSON_TYPE, Reply
from models.identity import User
from models.views.account import JobUserView

Json = dict[str, Any]
EXPORT_HEADERS = [
    JSON_TYPE,
    (b"content-disposition", b'attachment; filename="account.json"'),
    (b"cache-control", b"no-store"),
]


def choose_password(body: Json) -> Answer:
    """Choose another password; every session ends, and a new one begins."""
    known = _proven(body["current_password"])
    hashed = passwords.hashed(body["new_password"])
    with transact():
        user = people.unchanged(known)
        people.change_password(user, hashed)
        browser = sessions.open_browser(user.id, runtime().secrets)
        audit.note("auth.password_change", "user", user.uid)
    return Answer({"ok": True}, cookies=keeping(**{SESSION_COOKIE: browser}))


def mail_password_reset(body: Json) -> Json:
    """Mail a token to whoever has an account, and say nothing of who has."""
    recovery.mail_token(body["email"])
    return {"ok": True}


def confirm_password_reset(body: Json) -> Json:
    """Choose a new password by mail."""
    recovery.choose_password(body["token"], body["new_password"])
    return {"ok": True}


def confirm_email(body: Json) -> Json:
    """Confirm an address."""
    user = people.confirm(body["token"], runtime().secrets)
    audit.note("user.verify", "user", user.uid, actor=user)
    return {"ok": True, "user": JobUserView().dump(user)}


def mail_confirmation() -> Json:
    """Mail a new token that confirms the caller's address."""
    user = sessions.hold(caller().user_id or 0)
    if user.email_verified:
        raise conflict("This address is confirmed already")
    people.ask_to_verify(user, runtime().secrets)
    return {"ok": True}


async def export_account(call: Call) -> Reply:
    """Everything that is kept about the caller."""
    engine = runtime().engine
    user = await asyncio.to_thread(personal_export.begin, engine, call.principal.user_id or 0)
    return Reply(200, EXPORT_HEADERS, chunks=personal_export.stream(engine, user))


def delete_account(body: Json) -> Answer:
    """Erase the caller's account for good."""
    known = _proven(body["password"])
    with transact():
        erased = erasure.erase(known)
    erased.remove()
    return Answer(None, 204, cookies=forgetting())


def _proven(password: str) -> User:
    """The calling user, when this is their password; a 400 Problem otherwise."""
    with transact(write=False):
        known = people.calling(caller().user_id)
    if not passwords.matches(password, known.password_hash):
        raise Problem(400, "The current password is wrong")
    return known
