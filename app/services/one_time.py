"""Tokens that work once: mailed to verify an address or reset a password, handed out to ask for a second factor."""

from __future__ import annotations

from datetime import timedelta
from secrets import token_urlsafe

from sqlalchemy import select, update

from app.security.keys import fingerprint, fingerprints
from app.security.secrets import Secrets
from models.base import now, session
from models.sessions import OneTimeToken

VERIFY, RESET, MFA = "verify", "reset", "mfa"
LIFETIMES = {VERIFY: timedelta(hours=48), RESET: timedelta(hours=1), MFA: timedelta(minutes=5)}
MOST_TRIES = 5


def issue(user_id: int, purpose: str, secrets: Secrets) -> str:
    """A new token; an older one for the same purpose works no more. Hold the user while asking for one."""
    void(user_id, purpose)
    token = token_urlsafe(32)
    digest = fingerprint(token, secrets.pepper)
    row = OneTimeToken(user_id=user_id, purpose=purpose, token_hash=digest, expires_at=now() + LIFETIMES[purpose])
    session().add(row)
    session().flush()
    return token


def void(user_id: int, purpose: str) -> None:
    """End whatever token the user has for the purpose."""
    mine = update(OneTimeToken).where(OneTimeToken.user_id == user_id, OneTimeToken.purpose == purpose)
    session().execute(mine.where(OneTimeToken.used_at.is_(None)).values(used_at=now()))


def spend(token: str, purpose: str, secrets: Secrets) -> int | None:
    """Use the token up: its user, or None when it is unknown, used or expired. One of many at once gets it.

    Hold its `owner` before: whoever changes an account holds the person first, then what the person has.
    """
    moment = now()
    live = update(OneTimeToken).where(
        OneTimeToken.token_hash.in_(fingerprints(token, secrets)),
        OneTimeToken.purpose == purpose,
        OneTimeToken.used_at.is_(None),
        OneTimeToken.expires_at > moment,
    )
    return session().scalar(live.values(used_at=moment).returning(OneTimeToken.user_id))


def owner(token: str, purpose: str, secrets: Secrets) -> int | None:
    """Whose token this is, when it could be spent now."""
    live = select(OneTimeToken.user_id).where(
        OneTimeToken.token_hash.in_(fingerprints(token, secrets)),
        OneTimeToken.purpose == purpose,
        OneTimeToken.used_at.is_(None),
        OneTimeToken.expires_at > now(),
    )
    return session().scalar(live)


def attempt(token: str, purpose: str, secrets: Secrets) -> int | None:
    """Count a try against the token: its user, or None when it is unknown, used, expired, or tried too often."""
    live = update(OneTimeToken).where(
        OneTimeToken.token_hash.in_(fingerprints(token, secrets)),
        OneTimeToken.purpose == purpose,
        OneTimeToken.used_at.is_(None),
        OneTimeToken.expires_at > now(),
        OneTimeToken.tries < MOST_TRIES,
    )
    return session().scalar(live.values(tries=OneTimeToken.tries + 1).returning(OneTimeToken.user_id))
