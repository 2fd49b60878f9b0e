"""Looks up what a credential stands for: one function per scheme, each answering how long that may be trusted."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, and_, select, update

from app.problems import Problem, unauthorized
from app.security.cookies import LIFETIME_S
from app.security.desk_roles import DESK_GRANTS
from app.security.keys import BOX_SHAPE, SHAPE, fingerprints, legacy_fingerprint
from app.security.principals import Principal
from app.security.scopes import parse
from app.security.secrets import Secrets
from app.security.tokens import ACCESS, DESK, TokenError, verify
from models.base import now, transaction
from models.boxes import HMAC, Box
from models.desk import DeskKey
from models.identity import ApiKey, User
from models.orgs import Membership, Org
from models.sessions import CookieSession, RefreshSession

FRESH_S = 60.0
COOKIE_LIFETIME = timedelta(seconds=LIFETIME_S)
SEEN_EVERY = timedelta(hours=1)
CHALLENGE = 'Bearer error="invalid_token"'
Found = tuple[float, Principal]


@dataclass(frozen=True, slots=True)
class Store:
    """Where credentials are looked up."""

    engine: Engine
    secrets: Secrets = field(repr=False)


def api_key(store: Store, key: str) -> Found:
    """A Stockyard key of a user or an operator."""
    if not SHAPE.match(key):
        raise rejected()
    digests = fingerprints(key, store.secrets)
    known = select(ApiKey).where(ApiKey.key_hash.in_((*digests, legacy_fingerprint(key))))
    with transaction(store.engine, write=False) as session:
        row = session.scalar(known)
        user = session.get(User, row.user_id) if row and row.user_id else None
    if row is None or row.revoked_at is not None or (user and not user.is_active):
        raise rejected()
    if row.key_hash != digests[0]:
        _upgrade(store, row, digests[0])
    kind = "admin" if row.role == "admin" else "user"
    principal = Principal(kind, frozenset({row.role}), row.user_id, row.id, scopes=parse(row.scopes))
    return _fresh(row.expires_at), principal


def _upgrade(store: Store, row: ApiKey, digest: str) -> None:
    """A row of bare SHA-256, or of an older pepper, is rewritten the first time its key is used."""
    outdated = update(ApiKey).where(ApiKey.id == row.id, ApiKey.key_hash == row.key_hash)
    with transaction(store.engine) as session:
        session.execute(outdated.values(key_hash=digest, hash_algorithm="hmac-sha256"))


def access_token(store: Store, token: str) -> Found:
    """A fleet access token: valid while its session family is."""
    claims = _claims(ACCESS, token, store)
    family = str(claims.get("sid"))
    live = select(RefreshSession.id).where(RefreshSession.family == family, RefreshSession.revoked_at.is_(None))
    with transaction(store.engine, write=False) as session:
        user = session.scalar(select(User).where(User.uid == claims["sub"]))
        if user is None or not user.is_active or session.scalar(live.limit(1)) is None:
            raise rejected()
        member = select(Org.uid, Membership.role).join(Org, Org.id == Membership.org_id)
        orgs = dict(session.execute(member.where(Membership.user_id == user.id)).all())
    roles = frozenset({"user"} | ({"platform_admin"} if user.is_admin else set()))
    principal = Principal("stout", roles, user.id, email=user.email, orgs=orgs, session=family)
    return min(FRESH_S, int(claims["exp"]) - now().timestamp()), principal


def desk_token(store: Store, token: str) -> Found:
    """A service-desk token: role and tenant as signed, while its holder is active, a member, and may have it."""
    claims = _claims(DESK, token, store)
    member = select(Membership.org_id, User, Membership.desk_role).join(User, User.id == Membership.user_id).join(Org)
    member = member.where(User.uid == claims["sub"], User.is_active, Org.uid == claims.get("custom:tenant_id"))
    with transaction(store.engine, write=False) as session:
        found = session.execute(member).one_or_none()
    role = str(claims.get("custom:role"))
    if found is None or role not in DESK_GRANTS.get(found[2], ()):
        raise rejected()
    roles = frozenset({role})
    principal = Principal("desk", roles, found[1].id, email=found[1].email, org_id=found[0])
    return min(FRESH_S, int(claims["exp"]) - now().timestamp()), principal


def desk_key(store: Store, key: str) -> Found:
    """A service-desk key, good for tokens only: its role, while its owner is active, in the tenant, and may give it."""
    owner = select(DeskKey, User, Membership.desk_role).join(User, User.id == DeskKey.user_id)
    owner = owner.join(Membership, and_(Membership.user_id == DeskKey.user_id, Membership.org_id == DeskKey.org_id))
    known = owner.where(DeskKey.key_hash.in_(fingerprints(key, store.secrets)), DeskKey.revoked_at.is_(None))
    with transaction(store.engine, write=False) as session:
        found = session.execute(known).one_or_none()
    if found is None or not found[1].is_active or found[0].role not in DESK_GRANTS.get(found[2], ()):
        raise rejected()
    row, user, _ = found
    roles = frozenset({row.role})
    principal = Principal("desk_key", roles, user.id, email=user.email, org_id=row.org_id, session=row.uid)
    return _fresh(row.expires_at), principal


def box_key(store: Store, key: str) -> Found:
    """The key of an enrolled box: it works until the next one is made, which ends this in every worker."""
    if not BOX_SHAPE.match(key):
        raise rejected()
    digests = fingerprints(key, store.secrets)
    known = select(Box).where(Box.key_hash.in_((*digests, legacy_fingerprint(key))))
    with transaction(store.engine, write=False) as session:
        row = session.scalar(known)
    if row is None:
        raise rejected()
    if row.key_hash != digests[0]:
        _renew(store, row, digests[0])
    return FRESH_S, Principal("box", org_id=row.org_id, box=row.uid)


def _renew(store: Store, row: Box, digest: str) -> None:
    """As with users' keys; one that was rotated meanwhile is left alone."""
    outdated = update(Box).where(Box.id == row.id, Box.key_hash == row.key_hash)
    with transaction(store.engine) as session:
        session.execute(outdated.values(key_hash=digest, hash_algorithm=HMAC))


def cookie(store: Store, value: str) -> Found:
    """A browser session. What the account may do is in its roles: user, active, verified, admin."""
    digests = fingerprints(value, store.secrets)
    known = select(CookieSession).where(CookieSession.token_hash.in_(digests))
    with transaction(store.engine, write=False) as session:
        row = session.scalar(known)
        user = session.get(User, row.user_id) if row else None
    if row is None or user is None or row.expires_at <= now():
        raise unauthorized("Not signed in, or the session has ended", challenge="Cookie")
    _slide(store, row, digests[0])
    states = {"active": True, "verified": user.email_verified, "admin": user.is_admin}
    roles = frozenset({"user"} | {name for name, holds in states.items() if holds and user.is_active})
    return _fresh(row.expires_at), Principal("cookie", roles, user.id, email=user.email, session=str(row.id))


def _slide(store: Store, row: CookieSession, digest: str) -> None:
    """Use keeps a session alive, and brings its fingerprint under the current pepper: written once an hour at most."""
    moment = now()
    if hmac.compare_digest(row.token_hash, digest) and moment - row.last_seen_at < SEEN_EVERY:
        return
    same = update(CookieSession).where(CookieSession.id == row.id)
    with transaction(store.engine) as session:
        session.execute(same.values(token_hash=digest, last_seen_at=moment, expires_at=moment + COOKIE_LIFETIME))


LOOKUPS: Mapping[str, Callable[[Store, str], Found]] = {
    "sy_key": api_key,
    "sy_admin_header": api_key,
    "sy_api_key": api_key,
    "stout_bearer": access_token,
    "desk_bearer": desk_token,
    "desk_key": desk_key,
    "box_key": box_key,
    "outsend_session": cookie,
}


def rejected(message: str = "Invalid API key") -> Problem:
    """401 for a credential that is not, or no longer, valid."""
    return unauthorized(message, challenge=CHALLENGE)


def _claims(kind: str, token: str, store: Store) -> Mapping[str, Any]:
    try:
        return verify(kind, token, store.secrets)
    except TokenError as error:
        problem = rejected("The token has expired" if error.expired else "Invalid token")
        problem.code = "token_expired" if error.expired else "invalid_token"
        raise problem from None


def _fresh(expires_at: datetime | None) -> float:
    """Seconds a finding may be trusted; a 401 Problem when that is over."""
    left = (expires_at - now()).total_seconds() if expires_at else FRESH_S
    if left <= 0:
        raise rejected()
    return min(FRESH_S, left)
