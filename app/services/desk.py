"""The service desk of one tenant: who acts in it, the numbers of its records, and the groups it starts with."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from app.problems import Problem, forbidden
from app.wire.call import current
from models.base import session
from models.desk import DeskCounter, DeskGroup

DIGITS = 7
# The groups that incidents are routed to: every tenant has them.
FIRST_GROUPS = {
    "Platform Engineering": "PLAT_ENG",
    "Network Operations": "NET_OPS",
    "Security Operations": "SEC_OPS",
    "Collaboration Services": "COLLAB",
    "IT Service Desk": "SERVICE_DESK",
}


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and in which tenant: nothing of another one can be reached through it."""

    org_id: int
    user_id: int
    email: str


def acting() -> Actor:
    """Who makes the request being served, by their service-desk token."""
    who = current().principal
    if who.org_id is None or who.user_id is None:
        raise forbidden("A service-desk token is needed here")
    return Actor(who.org_id, who.user_id, who.email)


def next_number(org_id: int, prefix: str) -> str:
    """The next number of the tenant's records of this kind, such as `INC0000001`.

    The counter's row stays locked until the transaction ends, and goes back when it fails: no gap, nothing twice.
    """
    number = _count(org_id, prefix)
    if number is None:
        try:
            with session().begin_nested():
                session().add(DeskCounter(org_id=org_id, prefix=prefix, last=1))
            number = 1
        except IntegrityError:  # somebody else began the count at the same moment
            number = _count(org_id, prefix)
    return f"{prefix}{number:0{DIGITS}d}"


def _count(org_id: int, prefix: str) -> int | None:
    mine = update(DeskCounter).where(DeskCounter.org_id == org_id, DeskCounter.prefix == prefix)
    return session().scalar(mine.values(last=DeskCounter.last + 1).returning(DeskCounter.last))


def furnish(org_id: int) -> None:
    """Give a tenant the groups that incidents are routed to, once."""
    known = select(DeskGroup.id).where(DeskGroup.org_id == org_id).limit(1)
    if session().scalar(known) is not None:
        return
    try:
        with session().begin_nested():
            session().add_all(DeskGroup(org_id=org_id, name=name, code=code) for name, code in FIRST_GROUPS.items())
    except IntegrityError:
        return  # another request of the tenant did it at the same moment


def unknown_reference(field: str, message: str) -> Problem:
    """422 for a field that names what the tenant does not have."""
    return Problem(422, f"{field}: {message}", code="unknown_reference")
