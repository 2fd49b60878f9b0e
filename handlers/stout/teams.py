"""Teams of an organization, and who is in them."""

from __future__ import annotations

from typing import Any

from app.http import Answer, created, page
from app.services import orgs, teams
from app.wire.pages import Listing
from models.orgs import Team, TeamMember
from models.views.orgs import TeamMemberView, TeamView

Json = dict[str, Any]

show_team = TeamView().dump
show_member = TeamMemberView().dump


def list_teams(org_id: str, **window: Any) -> Json:
    """An organization's teams."""
    actor = orgs.acting(org_id)
    return page(Listing(teams.of_org(actor.org), "items", show_team, (Team.id,)), **window)


def create_team(org_id: str, body: Json) -> Answer:
    """Make a team."""
    actor = orgs.changing(org_id)
    team = teams.create(actor, body["name"], body["slug"])
    return created(show_team(team), f"/api/orgs/{actor.org.uid}/teams/{team.uid}")


def get_team(org_id: str, team_id: str) -> Json:
    """One team."""
    actor = orgs.acting(org_id)
    shown: Json = show_team(teams.get(actor.org, team_id))
    return shown


def update_team(org_id: str, team_id: str, body: Json) -> Json:
    """Change a team's name or slug."""
    actor = orgs.changing(org_id)
    shown: Json = show_team(teams.update(actor, team_id, body))
    return shown


def delete_team(org_id: str, team_id: str) -> None:
    """Delete a team."""
    teams.remove(orgs.changing(org_id), team_id)


def list_team_members(org_id: str, team_id: str, **window: Any) -> Json:
    """Who is in a team."""
    actor = orgs.acting(org_id)
    found, key = teams.people(teams.get(actor.org, team_id)), (TeamMember.joined_at, TeamMember.user_id)
    return page(Listing(found, "items", show_member, key), **window)


def add_team_member(org_id: str, team_id: str, body: Json) -> Answer:
    """Put somebody into a team."""
    actor = orgs.changing(org_id)
    row = teams.add(actor, team_id, body["userId"])
    return created(show_member(row), f"/api/orgs/{actor.org.uid}/teams/{team_id.lower()}/members/{row.user.uid}")


def remove_team_member(org_id: str, team_id: str, user_id: str) -> None:
    """Take somebody out of a team."""
    teams.take_out(orgs.changing(org_id), team_id, user_id)
