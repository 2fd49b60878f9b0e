"""Groups of a tenant and the people in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Select, delete, or_, select
from sqlalchemy.exc import IntegrityError

from app.problems import conflict, not_found
from app.services.desk import Actor, unknown_reference
from models.base import session
from models.desk import DeskGroup, DeskGroupMember
from models.identity import User
from models.orgs import Membership


def groups(actor: Actor) -> Select[DeskGroup]:
    """The tenant's groups."""
    return select(DeskGroup).where(DeskGroup.org_id == actor.org_id)


def get(actor: Actor, uid: str) -> DeskGroup:
    """A group of the tenant; a 404 Problem when it has none of that id."""
    group = session().scalar(groups(actor).where(DeskGroup.uid == uid))
    if group is None:
        raise not_found("Group")
    return group


def add(actor: Actor, fields: Mapping[str, Any]) -> DeskGroup:
    """A new group; a 409 Problem when the name is taken, 422 for people who are not in the tenant."""
    people = members_of(actor, fields.get("members", ()), "members")
    managers = members_of(actor, [fields["manager_id"]] if "manager_id" in fields else (), "manager_id")
    group = DeskGroup(org_id=actor.org_id, name=fields["name"], code=fields.get("code"))
    group.kind, group.skills = fields.get("type", "support"), fields.get("skills", [])
    group.manager = next(iter(managers), None)
    try:
        with session().begin_nested():
            session().add(group)
    except IntegrityError:
        raise conflict("A group with this name exists") from None
    _join(group, people)
    return _fresh(group)


def change_members(actor: Actor, uid: str, added: Iterable[str], removed: Iterable[str]) -> DeskGroup:
    """Put people into a group and take others out; who is both added and removed is out."""
    group = get(actor, uid)
    session().refresh(group, with_for_update=True)
    inside = {user.id for user in group.members}
    _join(group, [user for user in members_of(actor, added, "add") if user.id not in inside])
    gone = [user.id for user in members_of(actor, removed, "remove")]
    mine = delete(DeskGroupMember).where(DeskGroupMember.group_id == group.id, DeskGroupMember.user_id.in_(gone))
    session().execute(mine)
    return _fresh(group)


def _join(group: DeskGroup, people: Iterable[User]) -> None:
    session().add_all(DeskGroupMember(group_id=group.id, user_id=user.id) for user in people)
    session().flush()


def _fresh(group: DeskGroup) -> DeskGroup:
    session().refresh(group)
    return group


def members_of(actor: Actor, ids: Iterable[str], field: str) -> list[User]:
    """The tenant's people of these ids, each once; a 422 Problem naming the field when one is none of them."""
    wanted = {uid_of(text) for text in ids}
    inside = select(User).join(Membership, Membership.user_id == User.id).where(Membership.org_id == actor.org_id)
    found = list(session().scalars(inside.where(User.uid.in_(wanted)))) if wanted else []
    if len(found) < len(wanted):
        raise unknown_reference(field, "there is no such user in this tenant")
    return found


def uid_of(text: str) -> str:
    """The UUID in a user's id as the desk writes it."""
    digits = text.removeprefix("usr_")
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def people(actor: Actor, filters: Mapping[str, Any]) -> Select[Membership]:
    """The tenant's people: by role, whether active, a group's name, and words of name or address."""
    found = select(Membership).join(Membership.user).where(Membership.org_id == actor.org_id)
    if (role := filters.get("role")) is not None:
        found = found.where(Membership.desk_role == role)
    if (active := filters.get("active")) is not None:
        found = found.where(User.is_active == active)
    if (name := filters.get("group")) is not None:
        found = found.where(User.id.in_(_inside(actor.org_id, name)))
    for word in (filters.get("q") or "").split():
        found = found.where(or_(*(column.icontains(word, autoescape=True) for column in (User.name, User.email))))
    return found


def person(actor: Actor, uid: str) -> Membership:
    """Somebody of the tenant; a 404 Problem when there is nobody of that id."""
    found = session().scalar(people(actor, {}).where(User.uid == uid_of(uid)))
    if found is None:
        raise not_found("User")
    return found


def names_by_user(actor: Actor) -> dict[int, list[str]]:
    """The names of the groups each user of the tenant is in, in order."""
    joined = select(DeskGroupMember.user_id, DeskGroup.name).join(DeskGroup, DeskGroup.id == DeskGroupMember.group_id)
    names: dict[int, list[str]] = defaultdict(list)
    for user_id, name in session().execute(joined.where(DeskGroup.org_id == actor.org_id).order_by(DeskGroup.name)):
        names[user_id].append(name)
    return names


def refuse_unknown(actor: Actor, name: str) -> None:
    """A 422 Problem unless the tenant has a group of this name."""
    if session().scalar(groups(actor).where(DeskGroup.name == name)) is None:
        raise unknown_reference("assignment_group", "there is no such group in this tenant")


def refuse_outsider(actor: Actor, email: str, name: str) -> None:
    """A 422 Problem unless the address is of somebody active in the tenant and in the group."""
    active = select(User.id).where(User.email == email, User.is_active)
    inside = select(Membership.id).where(Membership.org_id == actor.org_id, Membership.user_id.in_(active))
    grouped = _inside(actor.org_id, name).where(DeskGroupMember.user_id.in_(active))
    if session().scalar(inside) is None or session().scalar(grouped) is None:
        raise unknown_reference("assigned_to", f"there is nobody active of this address in the group {name}")


def _inside(org_id: int, name: str) -> Select[int]:
    joined = select(DeskGroupMember.user_id).join(DeskGroup, DeskGroup.id == DeskGroupMember.group_id)
    return joined.where(DeskGroup.org_id == org_id, DeskGroup.name == name)
