"""Erasing an account: everything of a person goes in one transaction, and what others need stays without their name.

What hangs on a user or on an org of theirs alone goes by its foreign key (`ON DELETE CASCADE`). This module says what
happens to the rest; a facts test holds every table of the server against it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Text, cast, delete, func, select, update
from sqlalchemy.orm import InstrumentedAttribute

from app.problems import conflict
from app.services import answer_cache, audit, operators, people
from app.services.box_jobs import files
from app.services.observing import cells
from app.services.revisions import bump
from app.services.rollups import only_writer
from models.audit import AuditEntry
from models.base import session
from models.desk import Incident, IncidentNote
from models.identity import User
from models.mail import Mail
from models.observing import CohortMember, CostCell, UsualCall
from models.orgs import OWNER, Invitation, Membership, Org
from models.traces import Trace, TraceBody
from models.training import TrainingCall
from models.trust import TrustFeedback

# What stands where an address stood; no such address can be (RFC 2606 §2).
ERASED = "erased@user.invalid"
MOST_NAMED = 5
BATCH = 500
Column = InstrumentedAttribute[Any]


@dataclass(frozen=True, slots=True)
class Anonymised:
    """Rows that stay: found by a column that holds the user's number or address, which then holds something else."""

    column: Column
    values: Mapping[str, Any]

    def of(self, user: User) -> ColumnElement[bool]:
        """What is the user's."""
        return self.column == (user.email if self.column.type.python_type is str else user.id)


ANONYMISED = (
    Anonymised(AuditEntry.actor_id, {"actor_id": None, "actor_email": None, "ip_address": None}),
    Anonymised(Trace.user_id, {"user_id": None, "key_id": None, "error": None, "details": {}}),
    # An erasure is rare: it reads these tables whole, where an index would cost every ticket something.
    Anonymised(Incident.assigned_to, {"assigned_to": None}),
    Anonymised(Incident.opened_by, {"opened_by": ERASED}),
    Anonymised(IncidentNote.author, {"author": ERASED}),
)
# Rows that are about the user by their address.
ADDRESSED: tuple[Column, ...] = (Mail.recipient, Invitation.email, TrustFeedback.user_email)
# Rows that go by the user's bare number, after all else: whoever stores calls holds these last, too.
NUMBERED: tuple[Column, ...] = (UsualCall.user_id, CostCell.user_id, CohortMember.user_id, TrainingCall.user_id)
# Foreign keys to a user that the erasure empties (`ON DELETE SET NULL`), and why the rows stay.
KEPT: Mapping[str, str] = {
    "invitation_codes.created_by_id": "A code admits others, whoever made it.",
    "invitations.invited_by_id": "Whoever was invited still is.",
    "access_grants.granted_by_id": "Whoever was let in still is.",
    "box_setups.created_by_id": "A box is its org's, whoever set it up.",
    "box_jobs.created_by_id": "What ran on a box is its org's.",
    "desk_groups.manager_id": "A group is its org's, and works on without a manager.",
}
# What lists the files of a user and of the orgs (by number) that go with them; a domain that keeps files belongs here.
FILES: tuple[Callable[[User, Sequence[int]], Iterable[Path]], ...] = (files.of_orgs,)


@dataclass(frozen=True, slots=True)
class Erased:
    """Files to remove once the transaction is committed: until then the account may yet stay."""

    files: tuple[Path, ...] = field(default=())

    def remove(self) -> None:
        """Remove the files; one that is gone already is no failure."""
        for file in self.files:
            file.unlink(missing_ok=True)


def erase(known: User) -> Erased:
    """Erase an account whose password was right a moment ago. Call it in a transaction, then `remove()` the files.

    Problem 401 when the password was changed since, 409 for the last active operator and for the last owner of an org
    that has other members.
    """
    # First of all locks, as whoever stores calls takes it: none of the user's comes between, and nobody waits for both.
    only_writer(session().connection())
    user = _hold(known)
    orgs = _orgs_alone(user)
    left = tuple(file for listed in FILES for file in listed(user, orgs))
    audit.note("user.erase", "user", user.uid)
    _anonymise(user, orgs)
    for column in ADDRESSED:
        session().execute(delete(column.class_).where(column == user.email))
    session().execute(delete(Org).where(Org.id.in_(orgs)))
    session().execute(delete(User).where(User.id == user.id))
    cells.let_go(session(), user.id)
    for column in NUMBERED:
        session().execute(delete(column.class_).where(column == user.id))
    answer_cache.outdate()
    bump()
    return Erased(left)


def _hold(known: User) -> User:
    """The user, held against everything, even rows that would newly refer to them."""
    if known.is_admin and operators.hold_operators() == {known.id}:
        raise operators.last_operator()
    session().get(User, known.id, with_for_update=True, populate_existing=True)
    return people.unchanged(known)


def _orgs_alone(user: User) -> list[int]:
    """The orgs that have no other member; a 409 Problem while one with others has no other owner.

    The orgs are held: nobody joins one that is about to go, and of two owners who leave at once, one stays.
    """
    mine = select(Membership.org_id).where(Membership.user_id == user.id)
    orgs = session().scalars(select(Org).where(Org.id.in_(mine)).order_by(Org.id).with_for_update()).all()
    others, owners = _others(user, orgs), _others(user, orgs, Membership.role == OWNER)
    owned = set(session().scalars(mine.where(Membership.role == OWNER)))
    if orphans := [org for org in orgs if org.id in owned and org.id in others and org.id not in owners]:
        raise _last_owner(orphans)
    return [org.id for org in orgs if org.id not in others]


def _others(user: User, orgs: Sequence[Org], *which: ColumnElement[bool]) -> set[int]:
    """Those of the orgs that have such a member besides the user."""
    inside = select(Membership.org_id).where(Membership.org_id.in_([org.id for org in orgs]), *which)
    return set(session().scalars(inside.where(Membership.user_id != user.id)))


def _last_owner(orgs: Sequence[Org]) -> Exception:
    names = ", ".join(org.name for org in orgs[:MOST_NAMED]) + (", ..." if len(orgs) > MOST_NAMED else "")
    told = f"You are the last owner of {names}, with other members"
    return conflict(f"{told}: make one of them an owner or remove them, then delete your account")


def _anonymise(user: User, orgs: Sequence[int]) -> None:
    session().flush()
    # The audit log outlives the orgs it is about.
    session().execute(update(AuditEntry).where(AuditEntry.org_id.in_(orgs)).values(org_id=None))
    calls = select(Trace.seq).where(Trace.user_id == user.id)
    session().execute(delete(TraceBody).where(TraceBody.seq.in_(calls)))
    for rows in ANONYMISED:
        session().execute(update(rows.column.class_).where(rows.of(user)).values(rows.values))
    _unname(user.email)


def _unname(address: str) -> None:
    """Take the address out of what audit entries tell, wherever in it."""
    spelt = json.dumps(address)[1:-1]
    naming = func.lower(cast(AuditEntry.details, Text)).contains(spelt.lower(), autoescape=True)
    last = 0
    while (
        rows := session()
        .scalars(select(AuditEntry).where(AuditEntry.id > last, naming).order_by(AuditEntry.id).limit(BATCH))
        .all()
    ):
        for row in rows:
            row.details = _without(row.details, address)
        last = rows[-1].id
        session().flush()


def _without(told: Any, address: str) -> Any:
    if isinstance(told, dict):
        return {name: _without(value, address) for name, value in told.items()}
    if isinstance(told, list):
        return [_without(value, address) for value in told]
    return ERASED if isinstance(told, str) and told.strip().lower() == address else told
