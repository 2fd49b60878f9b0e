"""People's accounts: made with a password, proven, and opened by signing in."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from secrets import token_hex

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.problems import Problem, conflict, forbidden, unauthorized
from app.security import passwords
from app.security.principals import Device
from app.security.secrets import Secrets
from app.services import audit, mail, one_time, sessions
from app.services.revisions import bump
from app.services.sessions import Tokens, held, hold
from app.services.webhooks import announce
from models.base import now, session
from models.identity import User
from models.orgs import DESK_ROLES, OWNER, Membership, Org

SLUG_LENGTH = 64


@dataclass(frozen=True, slots=True)
class NewPerson:
    """Who is to have an account. `password` is already hashed: that takes longer than a transaction may last."""

    email: str
    name: str
    password: str | None = field(default=None, repr=False)
    verified: bool = False
    admin: bool = False


@dataclass(frozen=True, slots=True)
class Entered:
    """Somebody who signed in, with the tokens of a new session; or who still owes a second factor, with `mfa_token`."""

    user: User
    tokens: Tokens = field(default=Tokens(), repr=False)
    mfa_token: str = field(default="", repr=False)


def find(email: str) -> User | None:
    """The user with this address, in any case."""
    return session().scalar(select(User).where(User.email == email.strip().lower()))


def calling(user_id: int | None) -> User:
    """The user who calls; a 401 Problem when their account went a moment ago."""
    user = session().get(User, user_id or 0)
    if user is None:
        raise unauthorized("This account is gone")
    return user


def add(person: NewPerson) -> User:
    """A new account; a 409 Problem when the address, in lower case, is taken."""
    email = person.email.strip().lower()
    user = User(email=email, name=person.name.strip() or email.partition("@")[0], password_hash=person.password)
    user.email_verified, user.is_admin = person.verified, person.admin
    try:
        with session().begin_nested():
            session().add(user)
    except IntegrityError:
        raise conflict("A user with this email exists", field="email") from None
    announce("user.signed_up", {"user_id": user.id, "tier": user.tier})
    return user


def ask_to_verify(user: User, secrets: Secrets) -> None:
    """Mail a token that proves the address."""
    mail.send_verification(user, one_time.issue(user.id, one_time.VERIFY, secrets))


def confirm(token: str, secrets: Secrets) -> User:
    """The user whose address the token proves; a 410 Problem when it is unknown, used or expired."""
    user = _spender(token, one_time.VERIFY, secrets)
    user.email_verified = True
    bump()
    return user


def checked(user: User | None, password: str) -> User:
    """The user when this is their password; a 401 Problem, after as long, when not or when there is no such user.

    Ask outside a transaction: hashing takes a tenth of a second.
    """
    if not passwords.matches(password, user.password_hash if user else None) or user is None:
        raise unauthorized("Invalid credentials")
    return user


def unchanged(known: User) -> User:
    """The user, held, whose password was right a moment ago; a 401 Problem when it was changed since."""
    user = hold(known.id)
    if user.password_hash != known.password_hash:
        raise unauthorized("Invalid credentials")
    return user


def enter(known: User, device: Device, secrets: Secrets, rehashed: str | None = None) -> Entered:
    """Sign in somebody whose password was right; 401 when it was changed since, 403 when deactivated."""
    user = unchanged(known)
    refuse_inactive(user)
    user.password_hash = rehashed or user.password_hash
    if user.mfa_enabled:
        return Entered(user, mfa_token=one_time.issue(user.id, one_time.MFA, secrets))
    return admit(user, device, secrets)


def admit(user: User, device: Device, secrets: Secrets) -> Entered:
    """Open a session for somebody who is held and has proven who they are."""
    welcome(user)
    return Entered(user, sessions.open_session(user, device, secrets))


def welcome(user: User) -> None:
    """Write a sign-in down; the first one also makes the user's personal org."""
    if user.last_login_at is None:
        make_personal_org(user)
    user.last_login_at = now()
    audit.note("auth.login", "user", user.uid, actor=user)


def refuse_inactive(user: User) -> None:
    """A 403 Problem for an account an operator switched off."""
    if not user.is_active:
        raise forbidden("This account is deactivated")


def change_password(user: User, hashed: str, keep: str = "") -> None:
    """Store another password; every session but the family to `keep` ends, and tokens to reset it work no more."""
    user.password_hash = hashed
    one_time.void(user.id, one_time.RESET)
    one_time.void(user.id, one_time.MFA)
    sessions.end_all(user.id, sessions.PASSWORD_CHANGE, keep)
    mail.send_changed(user)


def reset_password(token: str, hashed: str, secrets: Secrets) -> User:
    """Store the password chosen by the holder of a reset token; a 410 Problem when it is unknown, used or expired."""
    user = _spender(token, one_time.RESET, secrets)
    user.email_verified = True  # who read the mail has the address
    change_password(user, hashed)
    audit.note("auth.password_reset", "user", user.uid, actor=user)
    return user


def make_personal_org(user: User) -> None:
    """The org a user has alone, once; named after them. Hold the user before."""
    mine = select(Membership.id).join(Org).where(Membership.user_id == user.id, Org.is_personal)
    if session().scalar(mine.limit(1)) is not None:
        return
    org = _new_org(user.name or user.email)
    session().add(Membership(org_id=org.id, user_id=user.id, role=OWNER, desk_role=DESK_ROLES[OWNER]))
    session().flush()
    bump()


def _new_org(name: str) -> Org:
    """An org under the name's slug, or that with some random digits when it is taken."""
    org = Org(name=name[:100], slug=slug_of(name), is_personal=True)
    try:
        with session().begin_nested():
            session().add(org)
    except IntegrityError:
        org = Org(name=name[:100], slug=f"{slug_of(name)[: SLUG_LENGTH - 13]}-{token_hex(6)}", is_personal=True)
        session().add(org)
        session().flush()
    return org


def slug_of(name: str) -> str:
    """A name as `[a-z0-9]+(-[a-z0-9]+)*`, at most 64 characters; `org` when nothing of it is left."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:SLUG_LENGTH].strip("-") or "org"


def _spender(token: str, purpose: str, secrets: Secrets) -> User:
    owner = one_time.owner(token, purpose, secrets)
    user = held(owner) if owner is not None else None
    if user is None or one_time.spend(token, purpose, secrets) is None:
        raise gone()
    return user


def gone() -> Problem:
    """410 for a token that works no more, or never did."""
    return Problem(410, "This token is spent or expired; ask for a new one")
