"""One credential of every kind there is, each good for one request, and what the document should make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from secrets import token_urlsafe

import jwt
from sqlalchemy import select, update

from app.security.keys import fingerprint, mint, mint_box
from app.security.principals import Device
from app.security.tokens import ALGORITHM, DESK, sign
from app.services import accounts, boxes, sessions
from app.services.accounts import Terms
from app.services.desk import furnish
from models.base import now, transaction
from models.boxes import Box
from models.desk import DeskKey
from models.identity import User
from models.orgs import Membership, Org
from models.sessions import CookieSession
from support.callers import Client

PROVIDER_KEY = "sk-proj-0123456789abcdefghijABCDEFGHIJ"
NARROWED = "observe:read"
DEVICE = Device("test", "127.0.0.1")
OUR_PAGE, FOREIGN_PAGE = "http://127.0.0.1", "http://elsewhere.example"
CARRIED_BY: Mapping[str, str] = {
    "sy_key": "authorization",
    "provider_key": "authorization",
    "sy_api_key": "x-api-key",
    "provider_api_key": "x-api-key",
    "stout_bearer": "authorization",
    "desk_bearer": "authorization",
    "sy_admin_header": "x-admin-key",
    "desk_key": "x-api-key",
    "box_key": "x-api-key",
    "outsend_session": "cookie",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of credential: its scheme (none when it is none at all), the roles it has, and those in the path's org."""

    scheme: str = ""
    roles: frozenset[str] = frozenset()
    org_role: str = ""
    scopes: frozenset[str] = frozenset({"*"})
    valid: bool = True
    foreign: bool = False


def _of(scheme: str, *roles: str, org: str = "") -> Kind:
    return Kind(scheme, frozenset(roles), org)


def _bad(scheme: str) -> Kind:
    return Kind(scheme, valid=False)


DESK_KINDS = {
    f"desk {role.replace('_', ' ')}": _of("desk_bearer", role)
    for role in (
        "super_admin", "cloud_admin", "itsm_manager", "itsm_agent", "ai_engineer", "developer", "viewer",
        "service_account",
    )
}  # fmt: skip
KINDS: Mapping[str, Kind] = {
    "none": Kind(),
    "garbage bearer": _bad("sy_key"),
    "malformed header": _bad("sy_key"),
    "unknown key": _bad("sy_key"),
    "unknown admin key": _bad("sy_admin_header"),
    "revoked key": _bad("sy_key"),
    "expired key": _bad("sy_key"),
    "user key": _of("sy_key", "user"),
    "another user's key": _of("sy_key", "user"),
    "narrowed user key": Kind("sy_key", frozenset({"user"}), scopes=frozenset({NARROWED})),
    "user key as admin": _of("sy_admin_header", "user"),
    "admin key": _of("sy_key", "admin"),
    "admin key as admin": _of("sy_admin_header", "admin"),
    "provider key": _of("provider_key"),
    "user key as Anthropic's": _of("sy_api_key", "user"),
    "admin key as Anthropic's": _of("sy_api_key", "admin"),
    "unknown key as Anthropic's": _bad("sy_api_key"),
    "provider key as Anthropic's": _of("provider_api_key"),
    "garbage as Anthropic's": _bad("provider_api_key"),
    "fleet owner": _of("stout_bearer", "user", org="owner"),
    "fleet admin": _of("stout_bearer", "user", org="admin"),
    "fleet member": _of("stout_bearer", "user", org="member"),
    "fleet stranger": _of("stout_bearer", "user"),
    "fleet platform admin": _of("stout_bearer", "user", "platform_admin"),
    "expired fleet token": _bad("stout_bearer"),
    "ended fleet session": _bad("stout_bearer"),
    "session": _of("outsend_session", "user", "active", "verified"),
    "unverified session": _of("outsend_session", "user", "active"),
    "suspended session": _of("outsend_session", "user"),
    "operator's session": _of("outsend_session", "user", "active", "verified", "admin"),
    "session on another's page": Kind("outsend_session", frozenset({"user", "active", "verified"}), foreign=True),
    "expired session": _bad("outsend_session"),
    "unknown session": _bad("outsend_session"),
    **DESK_KINDS,
    "expired desk token": _bad("desk_bearer"),
    "forged desk token": _bad("desk_bearer"),
    "desk key": _of("desk_key", "itsm_agent"),
    "revoked desk key": _bad("desk_key"),
    "unknown desk key": _bad("desk_key"),
    "box": _of("box_key"),
    "rotated box key": _bad("box_key"),
    "unknown box key": _bad("box_key"),
}


class Wallet:
    """Makes credentials of every kind for one application: a fresh one each time where its use may end it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._runtime = client.application.runtime
        self._number = count()
        self._keys = self._stored_keys() | _unstored_keys(client)
        with transaction(self._runtime.engine) as session:
            org = Org(name="Acme", slug="acme-tests")
            session.add(org)
            session.flush()
            furnish(org.id)
        self._org = org

    @property
    def path(self) -> dict[str, str]:
        """The path parameters that lead somewhere: to the org of the members."""
        return {"orgId": self._org.uid}

    def headers(self, name: str) -> dict[str, str]:
        """The headers that carry this kind of credential."""
        kind = KINDS[name]
        if not kind.scheme:
            return {}
        secret = self._keys.get(name) or MAKERS[kind.scheme](self, name, kind)
        return _carried(kind, secret, "" if name == "malformed header" else "Bearer ")

    def _stored_keys(self) -> dict[str, str]:
        secrets = self._runtime.secrets
        with transaction(self._runtime.engine) as session:
            first = session.scalars(select(User.id)).one()
            _, another = accounts.add_user("another@localhost.example", secrets)
            revoked = accounts.add_key(first, Terms("revoked"), secrets)
            accounts.revoke_key(first, revoked.row.id)
            expired = accounts.add_key(first, Terms("old", expires_at=now() - timedelta(seconds=1)), secrets)
            narrowed = accounts.add_key(first, Terms("narrow", scopes=NARROWED), secrets)
        made = {"another user's key": another, "revoked key": revoked, "expired key": expired}
        return {name: issued.key for name, issued in (made | {"narrowed user key": narrowed}).items()}

    def _person(self, kind: Kind, desk_role: str = "viewer") -> User:
        """Somebody new, as the kind of credential wants them."""
        admin = bool(kind.roles & {"admin", "platform_admin"})
        user = User(email=f"somebody{next(self._number)}@localhost.example", name="Somebody", is_admin=admin)
        user.is_active = kind.scheme != "outsend_session" or not kind.roles or "active" in kind.roles
        user.email_verified = kind.scheme != "outsend_session" or "verified" in kind.roles
        with transaction(self._runtime.engine) as session:
            session.add(user)
            session.flush()
            if kind.org_role or kind.scheme.startswith("desk"):
                role = kind.org_role or "member"
                session.add(Membership(org_id=self._org.id, user_id=user.id, role=role, desk_role=desk_role))
        return user

    def fleet_token(self, name: str, kind: Kind) -> str:
        """An access token of somebody, in the org or not."""
        user = self._person(kind)
        with transaction(self._runtime.engine):
            token = sessions.open_session(user, DEVICE, self._runtime.secrets).access
            if name == "ended fleet session":
                sessions.end_all(user.id, sessions.LOGOUT)
        return self._aged(token) if name.startswith("expired") else token

    def session_cookie(self, name: str, kind: Kind) -> str:
        """The value of somebody's session cookie."""
        user = self._person(kind)
        with transaction(self._runtime.engine) as session:
            value = sessions.open_browser(user.id, self._runtime.secrets)
            if name == "expired session":
                session.execute(update(CookieSession).values(expires_at=now() - timedelta(seconds=1)))
        return value

    def desk_token(self, name: str, kind: Kind) -> str:
        """A service-desk token of somebody of the role."""
        role = next(iter(kind.roles), "itsm_agent")
        user = self._person(kind, role)
        claims = {"sub": user.uid, "email": user.email, "custom:role": role, "custom:tenant_id": self._org.uid}
        if name == "forged desk token":
            return jwt.encode(claims | {"typ": DESK, "iat": 0, "exp": 2**33}, "f" * 32, ALGORITHM)
        token = sign(DESK, claims, self._runtime.secrets)
        return self._aged(token) if name.startswith("expired") else token

    def desk_key(self, name: str, kind: Kind) -> str:
        """A service-desk key of an agent."""
        user = self._person(kind, "itsm_agent")
        key = f"desk_{token_urlsafe(32)}"
        row = DeskKey(org_id=self._org.id, user_id=user.id, name=name, role="itsm_agent", prefix=key[:8])
        row.key_hash = fingerprint(key, self._runtime.secrets.pepper)
        row.expires_at = now() + timedelta(days=1)
        row.revoked_at = now() if name == "revoked desk key" else None
        with transaction(self._runtime.engine) as session:
            session.add(row)
        return key

    def box_key(self, name: str, kind: Kind) -> str:
        """The key of a box of the org."""
        secrets = self._runtime.secrets
        box = Box(org_id=self._org.id, name=f"box {next(self._number)}", ip_address="192.0.2.1")
        with transaction(self._runtime.engine) as session:
            session.add(box)
            session.flush()
            key = boxes.rotate_key(box, secrets).key
            if name == "rotated box key":
                boxes.rotate_key(box, secrets)
        return key

    def _aged(self, token: str) -> str:
        """The token as it is after its end."""
        secrets = self._runtime.secrets
        claims = jwt.decode(token, options={"verify_signature": False})
        claims |= {"iat": claims["iat"] - 86400, "exp": claims["exp"] - 86400}
        return jwt.encode(claims, secrets.signing[secrets.signer], ALGORITHM, headers={"kid": secrets.signer})


def _unstored_keys(client: Client) -> dict[str, str]:
    """Keys that need no row of their own: the first ones, and those that are none."""
    user, admin = (c.headers["authorization"].removeprefix("Bearer ") for c in (client.user, client.admin))
    return {
        "garbage bearer": "garbage",
        "malformed header": admin,
        "unknown key": mint("user"),
        "unknown admin key": mint("admin"),
        "user key": user,
        "user key as admin": user,
        "admin key": admin,
        "admin key as admin": admin,
        "provider key": PROVIDER_KEY,
        "user key as Anthropic's": user,
        "admin key as Anthropic's": admin,
        "unknown key as Anthropic's": mint("user"),
        "provider key as Anthropic's": PROVIDER_KEY,
        "garbage as Anthropic's": "garbage",
        "unknown session": token_urlsafe(32),
        "unknown desk key": f"desk_{token_urlsafe(32)}",
        "unknown box key": mint_box(),
    }


def _carried(kind: Kind, secret: str, form: str) -> dict[str, str]:
    header = CARRIED_BY[kind.scheme]
    if header == "cookie":
        return {"cookie": f"outsend_session={secret}", "origin": FOREIGN_PAGE if kind.foreign else OUR_PAGE}
    return {header: form + secret if header == "authorization" else secret}


MAKERS: Mapping[str, Callable[[Wallet, str, Kind], str]] = {
    "stout_bearer": Wallet.fleet_token,
    "outsend_session": Wallet.session_cookie,
    "desk_bearer": Wallet.desk_token,
    "desk_key": Wallet.desk_key,
    "box_key": Wallet.box_key,
}
