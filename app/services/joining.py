"""How somebody comes in: by an invitation to an org, by an invitation code, or because sign-up is open."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from secrets import choice

from sqlalchemy import Select, or_, select, update
from sqlalchemy.exc import IntegrityError

from app.problems import Problem, conflict, forbidden
from app.runtime import runtime
from app.security.keys import fingerprint, fingerprints
from app.security.secrets import Secrets
from app.services import audit, people
from app.services.people import NewPerson
from app.services.revisions import bump
from models.base import now, session
from models.identity import User
from models.orgs import DESK_ROLES, Invitation, Membership, Org
from models.sessions import InvitationCode

PENDING, ACCEPTED = "pending", "accepted"
ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
CODE_LENGTH = 16
INVITE_ONLY = "Sign-up is by invitation: ask an operator for an account or an invitation"


@dataclass(frozen=True, slots=True)
class IssuedCode:
    """A stored invitation code and, this one time, the code."""

    row: InvitationCode
    code: str = field(repr=False)


def refuse_strangers() -> None:
    """A 403 Problem unless sign-up is open."""
    if runtime().settings.signup != "open":
        raise forbidden(INVITE_ONLY)


def invitation(token: str, secrets: Secrets) -> tuple[Invitation, Org]:
    """A pending invitation by its token, and its org; a 410 Problem when it was used, revoked or has expired."""
    matching = Invitation.token_hash.in_(fingerprints(token, secrets))
    live = select(Invitation, Org).join(Org, Org.id == Invitation.org_id).where(matching, Invitation.status == PENDING)
    found = session().execute(live.where(Invitation.expires_at > now())).first()
    if found is None:
        raise _spent()
    return found[0], found[1]


def join(user: User, invited: Invitation) -> None:
    """Use the invitation up; the user is a member at once. Problem 403: not their address; 409: member; 410: spent."""
    if invited.email.lower() != user.email:
        raise forbidden("This invitation is for another address")
    # The org before the invitation, as whoever deletes it takes them: it stays until this member is in it.
    session().scalar(select(Org.id).where(Org.id == invited.org_id).with_for_update(read=True, key_share=True))
    moment = now()
    live = update(Invitation).where(Invitation.id == invited.id, Invitation.status == PENDING)
    live = live.where(Invitation.token_hash == invited.token_hash)  # a newer token may have been mailed meanwhile
    used = live.where(Invitation.expires_at > moment).values(status=ACCEPTED, accepted_at=moment)
    if session().execute(used.returning(Invitation.id)).first() is None:
        raise _spent()
    _add_member(user, invited)
    audit.note("member.join", "user", user.uid, org_id=invited.org_id, actor=user, role=invited.role)


def join_as(person: NewPerson, token: str, secrets: Secrets) -> User:
    """A new account for whoever was invited: holding the token proves the address."""
    invited, _ = invitation(token, secrets)
    user = people.add(person)
    join(user, invited)
    user.email_verified = True
    return user


def issue_code(
    max_uses: int, expires_at: datetime | None, note: str, secrets: Secrets, created_by_id: int | None = None
) -> IssuedCode:
    """A new invitation code, shown once."""
    code = "".join(choice(ALPHABET) for _ in range(CODE_LENGTH))
    digest = fingerprint(_bound(code), secrets.pepper)
    row = InvitationCode(code_hash=digest, hint=code[:4], max_uses=max_uses, expires_at=expires_at, note=note)
    row.created_by_id = created_by_id
    session().add(row)
    session().flush()
    return IssuedCode(row, code)


def codes() -> Select[InvitationCode]:
    """Every invitation code, used up and expired ones too."""
    return select(InvitationCode)


def spend_code(code: str, secrets: Secrets) -> None:
    """Use an invitation code once; a 400 Problem when it is unknown, used up or expired."""
    live = update(InvitationCode).where(
        InvitationCode.code_hash.in_(fingerprints(_bound(code), secrets)),
        InvitationCode.uses < InvitationCode.max_uses,
        or_(InvitationCode.expires_at.is_(None), InvitationCode.expires_at > now()),
    )
    used = live.values(uses=InvitationCode.uses + 1).returning(InvitationCode.id)
    if session().execute(used).first() is None:
        raise Problem(400, "This invitation code is not valid, or is used up", code="invalid_invitation")


def _add_member(user: User, invited: Invitation) -> None:
    member = Membership(org_id=invited.org_id, user_id=user.id, role=invited.role, desk_role=DESK_ROLES[invited.role])
    try:
        with session().begin_nested():
            session().add(member)
    except IntegrityError:
        raise conflict("This user is a member already", field="email") from None
    bump()


def _spent() -> Problem:
    return Problem(410, "This invitation was used or revoked, or has expired")


def _bound(code: str) -> str:
    return f"invitation:{code.strip().upper()}"
