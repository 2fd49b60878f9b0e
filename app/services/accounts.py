"""Users and the API keys they hold: made, listed, narrowed, rotated and revoked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain, count
from typing import Any

from sqlalchemy import ColumnElement, Select, or_, select, update
from sqlalchemy.exc import IntegrityError

from app.problems import Problem, conflict, forbidden, not_found
from app.security.scopes import EVERYTHING, parse, text_of, within
from app.security.secrets import Secrets
from app.services.bootstrap import issue
from app.services.revisions import bump
from app.services.webhooks import announce
from models.base import now, session
from models.identity import ApiKey, User
from models.views.fields import rfc3339

MAX_KEYS = 1_000
NAME_LENGTH = 100
FIRST_KEY = "default"


@dataclass(frozen=True, slots=True)
class Issued:
    """A stored key and, this one time, its plaintext."""

    row: ApiKey
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a new key is asked to be. `held` are the scopes of the asking key: the new one may not exceed them."""

    name: str = FIRST_KEY
    scopes: str | None = None
    expires_at: datetime | None = None
    held: frozenset[str] = EVERYTHING

    def granted(self) -> str:
        """The scopes as stored: those asked for, or else those held; a 403 Problem when they exceed what is held."""
        asked = self.held if self.scopes is None else parse(self.scopes)
        if not within(asked, self.held):
            raise forbidden(f"This key's own scopes are {text_of(self.held)}; it cannot make one that may do more")
        return text_of(asked)


def add_user(email: str, secrets: Secrets, *, name: str | None = None, tier: str = "free") -> tuple[User, Issued]:
    """A new user and a first key; a 409 Problem when the address, in lower case, is taken."""
    address = email.strip().lower()
    user = User(email=address, name=(name or "").strip() or address.partition("@")[0], tier=tier)
    _store(user, conflict("A user with this email exists; use a key of that account", field="email"))
    announce("user.signed_up", {"user_id": user.id, "tier": user.tier})
    return user, _issue(user.id, Terms(), secrets)


def get_user(user_id: int) -> User:
    """The user; a 404 Problem when there is none."""
    return _known(session().get(User, user_id))


def find_users(email: str | None = None, q: str | None = None, tier: str | None = None) -> Select[User]:
    """Users whose address begins with `email`, whose address or name holds `q`, and who are on `tier`."""
    found = select(User)
    if email:
        found = found.where(User.email.startswith(email.strip().lower(), autoescape=True))
    if q:
        found = found.where(or_(User.email.icontains(q, autoescape=True), User.name.icontains(q, autoescape=True)))
    return found.where(User.tier == tier) if tier else found


def add_key(user_id: int, terms: Terms, secrets: Secrets) -> Issued:
    """A further key; Problem 404, 403 when it would exceed the asking key, 409 on a taken name or too many keys."""
    _refuse_crowd(_ring(user_id))
    return _issue(user_id, terms, secrets)


def revoke_key(user_id: int, key_id: int) -> None:
    """End a key of this user at once, for good; a 404 Problem when it is not theirs or already revoked."""
    get_user(user_id)
    _revoke(ApiKey.id == key_id, ApiKey.user_id == user_id)


def rotate_key(user_id: int, key_id: int, secrets: Secrets, terms: Terms, overlap_s: int = 0) -> Issued:
    """A new key of the same name and scopes; the old one ends at once, or `overlap_s` seconds from now.

    It expires when the terms say, or else when the old one would have. Of two at once, one gets a 404 Problem.
    """
    ring = _ring(user_id)
    old = next((key for key in ring if key.id == key_id and not key.name.endswith(_suffix(key))), None)
    if old is None:
        raise not_found("Key")
    if not within(parse(old.scopes), terms.held):
        raise forbidden("This key cannot rotate one that may do more than itself")
    successor = replace(terms, name=old.name, scopes=old.scopes, expires_at=terms.expires_at or old.expires_at)
    if overlap_s:
        _refuse_crowd(ring)
    _retire(old, overlap_s)
    session().flush()  # the name must be free before the new key takes it
    return _issue(user_id, successor, secrets)


def user_of(email: str) -> User:
    """The user with this address; a 404 Problem when there is none."""
    return _known(session().scalar(select(User).where(User.email == email.strip().lower())))


def find_keys(user_id: int | None = None) -> Select[ApiKey]:
    """Every key that is not revoked, operators' too, or those of one user; oldest first."""
    return ApiKey.live_of(user_id) if user_id else select(ApiKey).where(ApiKey.revoked_at.is_(None)).order_by(ApiKey.id)


def free_name(stem: str, user_id: int | None) -> str:
    """The first of `cli`, `cli-2`, `cli-3` that no key in use has; without a user, no operator's key."""
    owned = ApiKey.user_id.is_(None) if user_id is None else ApiKey.user_id == user_id
    taken = set(session().scalars(select(ApiKey.name).where(owned, ApiKey.revoked_at.is_(None))))
    return next(name for name in chain([stem], (f"{stem}-{n}" for n in count(2))) if name not in taken)


def add_admin_key(name: str, expires_at: datetime | None, secrets: Secrets) -> Issued:
    """A further key for operating this server; a 409 Problem when one in use has the name."""
    live = select(ApiKey.id).where(ApiKey.role == "admin", ApiKey.name == name, ApiKey.revoked_at.is_(None))
    if session().scalar(live) is not None:
        raise _name_taken()
    row, key = issue(name, "admin", secrets)
    row.expires_at = expires_at
    _store(row, _name_taken())
    announce("key.created", _told(row))
    return Issued(row, key)


def end_key(key_id: int) -> None:
    """End any key, an operator's too; a 404 Problem when there is none or it is already revoked."""
    _revoke(ApiKey.id == key_id)


def _revoke(*which: ColumnElement[bool]) -> None:
    """One statement, so that of two at once one finds nothing."""
    ended = update(ApiKey).where(*which, ApiKey.revoked_at.is_(None)).values(revoked_at=now())
    row = session().scalar(ended.returning(ApiKey))
    if row is None:
        raise not_found("Key")
    announce("key.revoked", _told(row))
    bump()


def _retire(old: ApiKey, overlap_s: int) -> None:
    if not overlap_s:
        old.revoked_at = now()
    else:
        end = now() + timedelta(seconds=overlap_s)
        old.expires_at = min(old.expires_at or end, end)
        old.name = old.name[: NAME_LENGTH - len(_suffix(old))] + _suffix(old)
    ends = old.revoked_at or old.expires_at or now()
    announce("key.revoked", _told(old) | {"rotated": True, "ends_at": rfc3339(ends)})


def _suffix(key: ApiKey) -> str:
    """What the name of a key ends with that was rotated and works a little longer; it is not rotated again."""
    return f" (rotated {key.id})"


def _ring(user_id: int) -> list[ApiKey]:
    """A user's working keys, held until the transaction ends; expired ones are revoked on the way.

    Holding the owner makes whoever changes the same user's keys wait; keys are held in the order of their ids.
    """
    _known(session().get(User, user_id, with_for_update=True))
    keys = session().scalars(ApiKey.live_of(user_id).with_for_update()).all()
    moment = now()
    for key in keys:
        if key.expires_at and key.expires_at <= moment:
            key.revoked_at = key.expires_at
    session().flush()
    return [key for key in keys if key.revoked_at is None]


def _refuse_crowd(ring: list[ApiKey]) -> None:
    if len(ring) >= MAX_KEYS:
        raise conflict(f"This user has {MAX_KEYS} keys, the most there may be; revoke one that is no longer used")


def _issue(user_id: int, terms: Terms, secrets: Secrets) -> Issued:
    row, key = issue(terms.name, "user", secrets)
    row.user_id, row.scopes, row.expires_at = user_id, terms.granted(), terms.expires_at
    _store(row, _name_taken())
    announce("key.created", _told(row))
    return Issued(row, key)


def _told(row: ApiKey) -> dict[str, Any]:
    """A key as an event names it: what identifies it, and nothing it could be used by."""
    return {"id": row.id, "name": row.name, "role": row.role, "user_id": row.user_id}


def _store(row: User | ApiKey, taken: Problem) -> None:
    """Store the row; the unique index decides, so that of two at once one is refused."""
    try:
        with session().begin_nested():
            session().add(row)
    except IntegrityError:
        raise taken from None
    bump()


def _name_taken() -> Problem:
    return conflict("A key of this name exists; rotate or revoke it, or choose another name", field="name")


def _known(user: User | None) -> User:
    if user is None:
        raise not_found("User")
    return user
