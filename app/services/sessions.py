"""Sessions of people who signed in: rotating refresh tokens with their access tokens, and browser cookies."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from secrets import token_urlsafe

from sqlalchemy import ColumnElement, Select, delete, select, update

from app.problems import Problem, not_found, unauthorized
from app.security.cookies import LIFETIME_S
from app.security.keys import fingerprint, fingerprints
from app.security.principals import Device
from app.security.secrets import Secrets
from app.security.tokens import ACCESS, sign
from app.services import audit
from app.services.revisions import bump
from models.base import new_uid, now, session
from models.identity import User
from models.sessions import CookieSession, RefreshSession

LIFETIME = timedelta(seconds=LIFETIME_S)
LOGOUT, REUSE, PASSWORD_CHANGE, DEACTIVATED = "logout", "reuse", "password_change", "deactivated"


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a client keeps of a session; `reused` instead when its refresh token had been used before."""

    access: str = field(default="", repr=False)
    refresh: str = field(default="", repr=False)
    reused: bool = False


def hold(user_id: int) -> User:
    """The user, held until the transaction ends: whoever changes the same person's sessions or factors waits.

    A 401 Problem when the account is gone: whoever asks is its user.
    """
    user = held(user_id)
    if user is None:
        raise unauthorized("This account is gone")
    return user


def held(user_id: int) -> User | None:
    """The same for somebody who may not be there."""
    return session().get(User, user_id, with_for_update={"key_share": True}, populate_existing=True)


def open_session(user: User, device: Device, secrets: Secrets) -> Tokens:
    """A new family of tokens for somebody who just proved who they are."""
    family = new_uid()
    token, _ = _issue(user.id, family, device, secrets)
    return Tokens(_access(user, family, secrets), token)


def refresh(token: str, device: Device, secrets: Secrets) -> Tokens:
    """The next tokens of the family; a 401 Problem for a token that is unknown, expired or revoked.

    A token works once. Using it again, be it at the same moment, ends every session of its user (RFC 9700 §4.14.2
    asks for the family): one of the two is a thief, and nobody can tell which.
    """
    matching = RefreshSession.token_hash.in_(fingerprints(token, secrets))
    known = session().scalar(select(RefreshSession).where(matching))
    if known is None:
        raise refused()
    user = hold(known.user_id)
    if not _claim(known.id):
        return _judge(known, user)
    if not user.is_active:
        raise refused()
    following, row = _issue(user.id, known.family, device, secrets)
    known.replaced_by_id = row.id
    return Tokens(_access(user, known.family, secrets), following)


def _claim(row_id: int) -> bool:
    """Use the row up: of many at once this succeeds for one."""
    live = (RefreshSession.rotated_at.is_(None), RefreshSession.revoked_at.is_(None), RefreshSession.expires_at > now())
    used = update(RefreshSession).where(RefreshSession.id == row_id, *live).values(rotated_at=now(), last_used_at=now())
    return session().execute(used.returning(RefreshSession.id)).first() is not None


def _judge(known: RefreshSession, user: User) -> Tokens:
    """Why a token could not be used: a second use is answered by ending every session, anything else by 401."""
    session().refresh(known)
    if known.rotated_at is None or known.revoked_at is not None:
        raise refused()
    end_all(user.id, REUSE)
    audit.note("auth.refresh_reuse", "session", known.family, actor=user)
    return Tokens(reused=True)


def refused() -> Problem:
    """401 for a refresh token that cannot be used, whatever the reason."""
    return unauthorized("Invalid refresh token")


def live_sessions(user_id: int) -> Select[RefreshSession]:
    """The token in force of each of the user's families."""
    mine = select(RefreshSession).where(RefreshSession.user_id == user_id, RefreshSession.expires_at > now())
    return mine.where(RefreshSession.rotated_at.is_(None), RefreshSession.revoked_at.is_(None))


def family_of(user_id: int, uid: str) -> str:
    """The live family a session of this user belongs to, by any token it had; a 404 Problem when there is none."""
    mine = (RefreshSession.user_id == user_id, RefreshSession.uid == uid.lower(), RefreshSession.revoked_at.is_(None))
    family = session().scalar(select(RefreshSession.family).where(*mine, RefreshSession.expires_at > now()))
    if family is None:
        raise not_found("Session")
    return family


def family_by_token(token: str, secrets: Secrets) -> tuple[int, str] | None:
    """The user and family of a refresh token; None when it is unknown."""
    matching = RefreshSession.token_hash.in_(fingerprints(token, secrets))
    found = session().execute(select(RefreshSession.user_id, RefreshSession.family).where(matching)).first()
    return (found[0], found[1]) if found else None


def end_family(user_id: int, family: str, reason: str = LOGOUT) -> None:
    """Revoke one session: its refresh token and its access tokens, everywhere within a second."""
    hold(user_id)
    _revoke(RefreshSession.family == family, reason)


def end_all(user_id: int, reason: str, keep: str = "") -> None:
    """Revoke every session of a user, browsers included, but the family to `keep`."""
    hold(user_id)
    _revoke((RefreshSession.user_id == user_id) & (RefreshSession.family != keep), reason)
    session().execute(delete(CookieSession).where(CookieSession.user_id == user_id))


def _revoke(which: ColumnElement[bool], reason: str) -> None:
    live = update(RefreshSession).where(which, RefreshSession.revoked_at.is_(None))
    session().execute(live.values(revoked_at=now(), revoke_reason=reason))
    bump()


def open_browser(user_id: int, secrets: Secrets) -> str:
    """A new browser session; the value of its cookie."""
    value = token_urlsafe(32)
    digest = fingerprint(value, secrets.pepper)
    session().add(CookieSession(user_id=user_id, token_hash=digest, expires_at=now() + LIFETIME))
    session().flush()
    return value


def close_browser(value: str, secrets: Secrets) -> None:
    """End a browser session, so that a copy of its cookie is worth nothing."""
    session().execute(delete(CookieSession).where(CookieSession.token_hash.in_(fingerprints(value, secrets))))
    bump()


def _issue(user_id: int, family: str, device: Device, secrets: Secrets) -> tuple[str, RefreshSession]:
    token = token_urlsafe(32)
    row = RefreshSession(
        user_id=user_id,
        family=family,
        token_hash=fingerprint(token, secrets.pepper),
        user_agent=device.user_agent,
        ip_address=device.ip_address,
        expires_at=now() + LIFETIME,
    )
    session().add(row)
    session().flush()
    return token, row


def _access(user: User, family: str, secrets: Secrets) -> str:
    return sign(ACCESS, {"sub": user.uid, "sid": family, "email": user.email}, secrets)
