"""Orgs: who acts in one at this moment, and how they are made, renamed and deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import joinedload, with_expression

from app.problems import Problem, conflict, forbidden, not_found
from app.services import audit
from app.services.box_jobs import files
from app.services.clashes import refusing
from app.services.revisions import bump
from app.wire.call import current
from models.base import session
from models.boxes import Box
from models.identity import User
from models.orgs import ADMIN, DESK_ROLES, MEMBER, OWNER, Membership, Org

MEMBERS = select(func.count(Membership.id)).where(Membership.org_id == Org.id).correlate(Org).scalar_subquery()
BOXES = select(func.count(Box.id)).where(Box.org_id == Org.id).correlate(Org).scalar_subquery()
COUNTED = (with_expression(Org.member_count, MEMBERS), with_expression(Org.box_count, BOXES))
OWNERS, ADMINS, ANYBODY = frozenset({OWNER}), frozenset({OWNER, ADMIN}), frozenset({OWNER, ADMIN, MEMBER})


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a request, in the org of its path, with the role they have there now."""

    org: Org
    user: User
    role: str

    @property
    def is_owner(self) -> bool:
        """Whether they own the org, with others perhaps."""
        return self.role == OWNER


def acting(org_uid: str) -> Actor:
    """Who makes the request being served; a 404 Problem when they are not, or no longer, in the org."""
    seat = select(Membership).options(joinedload(Membership.org), joinedload(Membership.user)).join(Membership.org)
    mine = seat.where(Org.uid == org_uid.lower(), Membership.user_id == current().principal.user_id)
    member = session().scalar(mine)
    if member is None:
        raise not_found("Organization")
    return Actor(member.org, member.user, member.role)


def changing(org_uid: str, roles: frozenset[str] = ADMINS, *, wholly: bool = False) -> Actor:
    """Who changes the org, which is held until the transaction ends: of two at once, one sees what the other did.

    The role counts that they have then, not the one they were let in with: a 403 Problem when it is none of `roles`.
    Held `wholly`, nothing can be put into the org by others meanwhile, either.
    """
    session().scalar(select(Org.id).where(Org.uid == org_uid.lower()).with_for_update(key_share=not wholly))
    actor = acting(org_uid)
    if actor.role not in roles:
        raise forbidden("Your role in this organization does not cover that any more")
    return actor


def of_user(user_id: int) -> Select[Org]:
    """The orgs a user is in, with their role there."""
    mine = select(Org).join(Membership, Membership.org_id == Org.id).where(Membership.user_id == user_id)
    return mine.options(*COUNTED, with_expression(Org.role, Membership.role))


def seen(org: Org, user: User) -> Org:
    """The org as this member sees it."""
    fresh = of_user(user.id).where(Org.id == org.id).execution_options(populate_existing=True)
    return session().scalars(fresh).one()


def create(user: User, name: str, slug: str) -> Org:
    """A new org that the user owns; a 409 Problem when the slug is taken."""
    org = Org(name=name.strip(), slug=slug)
    with refusing(_slug_taken()):
        session().add(org)
    session().add(Membership(org_id=org.id, user_id=user.id, role=OWNER, desk_role=DESK_ROLES[OWNER]))
    audit.note("org.create", "org", org.uid, org.id, name=org.name, slug=org.slug)
    bump()
    return seen(org, user)


def update(actor: Actor, fields: Mapping[str, str]) -> Org:
    """Rename an org; Problem 403 when an admin would change the slug, 409 when it is taken."""
    org = actor.org
    wanted = {"name": fields.get("name", org.name).strip(), "slug": fields.get("slug", org.slug)}
    changed: dict[str, Any] = {field: value for field, value in wanted.items() if value != getattr(org, field)}
    if "slug" in changed and not actor.is_owner:
        raise forbidden("Only an owner can change the slug of an organization")
    if changed:
        with refusing(_slug_taken()):
            org.name, org.slug = wanted["name"], wanted["slug"]
        audit.note("org.update", "org", org.uid, org.id, **changed)
    return seen(org, actor.user)


def remove(actor: Actor) -> list[Path]:
    """Delete an org with all that is in it, by its last member; a 409 Problem while there are others.

    Returns the files to remove once the transaction is committed: until then the org may yet stay.
    """
    org = actor.org
    members = select(func.count(Membership.id)).where(Membership.org_id == org.id)
    if (session().scalar(members) or 0) > 1:
        raise conflict("This organization has other members; remove them first")
    left = files.of_orgs(actor.user, [org.id])
    audit.note("org.delete", "org", org.uid, name=org.name, slug=org.slug)
    session().execute(delete(Org).where(Org.id == org.id))
    bump()
    return left


def _slug_taken() -> Problem:
    return conflict("An organization with this slug exists", field="slug")
