"""Teams of an org, and who is in them. What is granted to a team goes with it, by the tables' foreign keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, select
from sqlalchemy.orm import joinedload, with_expression

from app.problems import Problem, conflict, not_found
from app.services import audit, members
from app.services.clashes import refusing
from app.services.orgs import Actor
from models.base import session
from models.identity import User
from models.orgs import Org, Team, TeamMember

MEMBERS = select(func.count()).where(TeamMember.team_id == Team.id).correlate(Team).scalar_subquery()
COUNTED = with_expression(Team.member_count, MEMBERS)


def of_org(org: Org) -> Select[Team]:
    """An org's teams."""
    return select(Team).where(Team.org_id == org.id).options(COUNTED)


def get(org: Org, uid: str) -> Team:
    """A team of the org as it is now; a 404 Problem when it has none of that id."""
    fresh = of_org(org).where(Team.uid == uid.lower()).execution_options(populate_existing=True)
    team = session().scalar(fresh)
    if team is None:
        raise not_found("Team")
    return team


def create(actor: Actor, name: str, slug: str) -> Team:
    """A new team without members; a 409 Problem when the org has one of this slug."""
    team = Team(org_id=actor.org.id, name=name.strip(), slug=slug)
    with refusing(_slug_taken()):
        session().add(team)
    audit.note("team.create", "team", team.uid, team.org_id, name=team.name, slug=slug)
    return get(actor.org, team.uid)


def update(actor: Actor, uid: str, fields: Mapping[str, str]) -> Team:
    """Rename a team; Problem 404, or 409 when the org has another of this slug."""
    team = get(actor.org, uid)
    wanted = {"name": fields.get("name", team.name).strip(), "slug": fields.get("slug", team.slug)}
    changed: dict[str, Any] = {field: value for field, value in wanted.items() if value != getattr(team, field)}
    if changed:
        with refusing(_slug_taken()):
            team.name, team.slug = wanted["name"], wanted["slug"]
        audit.note("team.update", "team", team.uid, team.org_id, **changed)
    return get(actor.org, uid)


def remove(actor: Actor, uid: str) -> None:
    """Delete a team; a 404 Problem when there is none."""
    team = get(actor.org, uid)
    audit.note("team.delete", "team", team.uid, team.org_id, name=team.name, slug=team.slug)
    session().execute(delete(Team).where(Team.id == team.id))


def people(team: Team) -> Select[TeamMember]:
    """Who is in a team."""
    return select(TeamMember).where(TeamMember.team_id == team.id).options(joinedload(TeamMember.user))


def add(actor: Actor, uid: str, user_uid: str) -> TeamMember:
    """Put a member of the org into a team; Problem 404 for an unknown team, 409 for who is in it or no member."""
    team = get(actor.org, uid)
    member = session().scalar(members.of_org(actor.org).where(User.uid == user_uid.lower()))
    if member is None:
        raise conflict("Only members of the organization can be in its teams", field="userId")
    user = member.user
    row = TeamMember(team_id=team.id, user_id=user.id, user=user)
    with refusing(conflict("This user is in the team already", field="userId")):
        session().add(row)
    audit.note("team.member_add", "team", team.uid, team.org_id, userId=user.uid, email=user.email)
    return row


def take_out(actor: Actor, uid: str, user_uid: str) -> None:
    """Take somebody out of a team; a 404 Problem when they are not in it."""
    team = get(actor.org, uid)
    user = session().scalar(select(User).join(TeamMember).where(_in(team), User.uid == user_uid.lower()))
    if user is None:
        raise not_found("Team member")
    session().execute(delete(TeamMember).where(_in(team), TeamMember.user_id == user.id))
    audit.note("team.member_remove", "team", team.uid, team.org_id, userId=user.uid, email=user.email)


def _in(team: Team) -> ColumnElement[bool]:
    return TeamMember.team_id == team.id


def _slug_taken() -> Problem:
    return conflict("A team with this slug exists in the organization", field="slug")
