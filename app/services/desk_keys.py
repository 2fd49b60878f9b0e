"""Keys and tokens of the service desk: keys are made for people and machines, and traded for signed tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from secrets import token_urlsafe
from typing import Any

from sqlalchemy import Select, select

from app.problems import Problem, forbidden, not_found
from app.security.desk_roles import DESK_GRANTS
from app.security.keys import fingerprint
from app.security.lookups import Store, desk_key, rejected
from app.security.principals import Principal
from app.security.secrets import Secrets
from app.security.tokens import DESK, sign
from app.services import audit
from app.services.desk import Actor, furnish
from app.services.revisions import bump
from models.base import now, session
from models.desk import DeskKey
from models.identity import User
from models.orgs import Membership, Org

SHOWN = 8
LIFETIME, LONGEST = timedelta(days=90), timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Issued:
    """A stored key and, this one time, its plaintext."""

    row: DeskKey
    key: str = field(repr=False)


def keys(actor: Actor) -> Select[DeskKey]:
    """The actor's own keys in the tenant, revoked ones included."""
    return select(DeskKey).where(DeskKey.org_id == actor.org_id, DeskKey.user_id == actor.user_id)


def make(actor: Actor, held: str, fields: Mapping[str, Any], secrets: Secrets) -> Issued:
    """A new key; Problem 403 when its role may do what `held` may not, 422 when it would end too early or too late."""
    role = fields.get("role", held)
    if role not in DESK_GRANTS[held]:
        raise forbidden(f"The role {held} cannot make a key of the role {role}")
    key = f"desk_{token_urlsafe(32)}"
    row = DeskKey(org_id=actor.org_id, user_id=actor.user_id, name=fields["name"], role=role)
    row.prefix, row.key_hash = key[:SHOWN], fingerprint(key, secrets.pepper)
    row.expires_at = _end(fields.get("expires_at"))
    session().add(row)
    session().flush()
    audit.note("desk.key.create", "desk_key", row.uid, actor.org_id)
    return Issued(row, key)


def _end(wanted: datetime | None) -> datetime:
    moment = now()
    end = wanted or moment + LIFETIME
    if not moment < end <= moment + LONGEST:
        raise Problem(422, f"expires_at must be in the future, at most {LONGEST.days} days from now")
    return end


def revoke(actor: Actor, uid: str) -> None:
    """End one of the actor's keys; a 404 Problem when there is none in force of that id."""
    row = session().scalar(keys(actor).where(DeskKey.uid == uid, DeskKey.revoked_at.is_(None)).with_for_update())
    if row is None:
        raise not_found("API key")
    row.revoked_at = now()
    bump()
    audit.note("desk.key.revoke", "desk_key", row.uid, actor.org_id)


def holder(client_id: str, client_secret: str, store: Store) -> Principal:
    """Whom a key and its id stand for; a 401 Problem when they are no pair, or not valid any more."""
    principal = desk_key(store, client_secret)[1]
    if principal.session != client_id:
        raise rejected("Unknown client, or a wrong secret")
    return principal


def token_by_key(principal: Principal, key: str, issuer: str, secrets: Secrets) -> str:
    """A token for the holder of a key; the row learns of the use, and comes under the pepper in force."""
    row = session().scalar(select(DeskKey).where(DeskKey.uid == principal.session, DeskKey.revoked_at.is_(None)))
    if row is None:
        raise rejected()
    row.last_used_at, row.key_hash = now(), fingerprint(key, secrets.pepper)
    return _token(row.user_id, row.org_id, row.role, issuer, secrets)


def token_by_session(principal: Principal, tenant: str | None, issuer: str, secrets: Secrets) -> str:
    """A token for somebody signed in to the fleet, with their role in the tenant: that named, or else the only one."""
    wanted = set(principal.orgs) & {tenant} if tenant else set(principal.orgs)
    if tenant and not wanted:
        raise not_found("Tenant")
    if len(wanted) != 1:
        raise Problem(422, f"You are in {len(wanted)} tenants: name one of them in tenant_id")
    joined = select(Membership).join(Org).where(Org.uid == wanted.pop(), Membership.user_id == principal.user_id)
    member = session().scalars(joined).one()
    return _token(member.user_id, member.org_id, member.desk_role, issuer, secrets)


def _token(user_id: int, org_id: int, role: str, issuer: str, secrets: Secrets) -> str:
    furnish(org_id)
    user, org = session().get_one(User, user_id), session().get_one(Org, org_id)
    claims = {"sub": user.uid, "email": user.email, "name": user.name, "iss": issuer}
    return sign(DESK, claims | {"custom:role": role, "custom:tenant_id": org.uid}, secrets)
