"""Invitations into an org: sent, sent again, and taken back. How one is accepted is told in `joining`."""

from __future__ import annotations

from datetime import timedelta
from secrets import token_urlsafe

from sqlalchemy import ColumnElement, Select, and_, or_, select, update
from sqlalchemy.orm import joinedload

from app.problems import Problem, conflict, forbidden, not_found
from app.security.keys import fingerprint
from app.security.secrets import Secrets
from app.services import audit, mail
from app.services.clashes import refusing
from app.services.orgs import Actor
from models.base import now, session
from models.identity import User
from models.orgs import OWNER, Invitation, Membership, Org

LIFETIME = timedelta(days=7)
PENDING, ACCEPTED, REVOKED, EXPIRED = "pending", "accepted", "revoked", "expired"


def of_org(org: Org, status: str | None = None) -> Select[Invitation]:
    """An org's invitations, of a status."""
    found = select(Invitation).where(Invitation.org_id == org.id).options(joinedload(Invitation.invited_by))
    return found.where(_is(status)) if status else found


def _is(status: str) -> ColumnElement[bool]:
    """Being of a status now, written down or not."""
    over = Invitation.expires_at <= now()
    if status == PENDING:
        return and_(Invitation.status == PENDING, ~over)
    if status == EXPIRED:
        return or_(Invitation.status == EXPIRED, and_(Invitation.status == PENDING, over))
    return Invitation.status == status


def invite(actor: Actor, email: str, role: str, secrets: Secrets) -> Invitation:
    """Mail somebody a token; Problem 403 when the actor may not, 409 when they are a member or invited already."""
    _refuse_unfit(actor, role)
    address, org = email.strip().lower(), actor.org
    over = update(Invitation).where(Invitation.org_id == org.id, Invitation.email == address, _is(EXPIRED))
    session().execute(over.values(status=EXPIRED))
    row = Invitation(org_id=org.id, email=address, role=role, invited_by_id=actor.user.id)
    token = _renew(row, secrets)
    with refusing(_invited_already()):
        session().add(row)
    _refuse_member(row)
    mail.send_invitation(row, org, actor.user, token)
    audit.note("member.invite", "invitation", row.uid, org.id, email=address, role=role)
    return row


def resend(actor: Actor, uid: str, secrets: Secrets) -> Invitation:
    """Mail a new token in place of the old one; Problem 404, 403 as for `invite`, 409 when it is past resending."""
    row = _open(actor.org, uid)
    _refuse_unfit(actor, row.role)
    with refusing(_invited_already()):
        token = _renew(row, secrets)
    _refuse_member(row)
    mail.send_invitation(row, actor.org, actor.user, token)
    audit.note("invitation.resend", "invitation", row.uid, row.org_id, email=row.email)
    return row


def revoke(actor: Actor, uid: str) -> None:
    """Take an invitation back; Problem 404, or 409 when it was accepted or revoked."""
    row = _open(actor.org, uid)
    row.status = REVOKED
    audit.note("invitation.revoke", "invitation", row.uid, row.org_id, email=row.email)


def _open(org: Org, uid: str) -> Invitation:
    """An invitation that is pending or expired, held against being accepted meanwhile."""
    mine = select(Invitation).where(Invitation.org_id == org.id, Invitation.uid == uid.lower())
    row = session().scalar(mine.with_for_update())
    if row is None:
        raise not_found("Invitation")
    if row.status not in {PENDING, EXPIRED}:
        raise conflict(f"This invitation was {row.status} already")
    return row


def _renew(row: Invitation, secrets: Secrets) -> str:
    """A token for seven days; the one before, if any, is forgotten."""
    token = token_urlsafe(32)
    row.token_hash, row.expires_at, row.status = fingerprint(token, secrets.pepper), now() + LIFETIME, PENDING
    return token


def _refuse_unfit(actor: Actor, role: str) -> None:
    if not actor.user.email_verified:
        raise forbidden("Confirm your own address before you invite others")
    if role == OWNER and not actor.is_owner:
        raise forbidden("Only an owner can invite an owner")


def _refuse_member(row: Invitation) -> None:
    """Looked at after the invitation is written: who accepts an older one at the same moment is seen, or waits."""
    member = select(Membership.id).join(User, User.id == Membership.user_id)
    if session().scalar(member.where(Membership.org_id == row.org_id, User.email == row.email)) is not None:
        raise conflict("A user with this email is a member already", field="email")


def _invited_already() -> Problem:
    return conflict("An invitation for this email is pending already; resend or revoke it", field="email")
