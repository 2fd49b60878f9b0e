"""Teams of an organization, and who is in them.

Operations: `list_teams`, `create_team`, `get_team`, `update_team`, `delete_team`, `list_team_members`,
`add_team_member`, `remove_team_member`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.envelopes import Refusals
from support.orgs import Orgs, Seat


@pytest.fixture
def team(owner: Seat) -> dict[str, Any]:
    """A team of Test Bench."""
    return owner.post("/teams", name="Power Supplies", slug="power")


def test_admins_make_teams(orgs: Orgs, owner: Seat) -> None:
    """Nobody is in one yet; every member sees it."""
    admin, member = (orgs.seat(owner.org, role) for role in ("admin", "member"))
    answer = admin.ask("POST", "/teams", json={"name": " Power ", "slug": "power"})
    made = answer.json()
    assert (answer.status_code, made["name"], made["slug"], made["memberCount"]) == (201, "Power", "power", 0)
    assert made["orgId"] == owner.org.uid
    assert member.caller.get(answer.headers["location"]).json() == made
    assert member.get("/teams")["items"] == [made]
    assert owner.acts() == [("team.create", made["id"])]


def test_teams_are_listed_newest_first(orgs: Orgs, owner: Seat, team: dict[str, Any]) -> None:
    """Those of this org alone, with how many are in each."""
    orgs.seat(orgs.make("lab"), "owner").post("/teams", name="Theirs", slug="theirs")
    other = owner.post("/teams", name="Radio", slug="radio")
    owner.post(f"/teams/{other['id']}/members", userId=owner.user.uid)
    told = owner.get("/teams")
    assert [(item["slug"], item["memberCount"]) for item in told["items"]] == [("radio", 1), ("power", 0)]
    second = owner.get("/teams", page=2, limit=1)
    assert [item["slug"] for item in second.pop("items")] == ["power"]
    assert second == {"total": 2, "page": 2, "limit": 1}


def test_a_slug_is_one_teams_in_each_org(orgs: Orgs, owner: Seat, team: dict[str, Any], refused: Refusals) -> None:
    """The refusal names the field; another org's teams do not matter."""
    radio = owner.post("/teams", name="Radio", slug="radio")
    for answer in (
        owner.ask("POST", "/teams", json={"name": "Other", "slug": "power"}),
        owner.ask("PATCH", f"/teams/{radio['id']}", json={"slug": "power"}),
    ):
        body = refused(answer, 409, "conflict")
        assert (body["field"], "slug" in body["message"]) == ("slug", True)
    assert owner.get(f"/teams/{radio['id']}") == radio
    assert orgs.seat(orgs.make("lab"), "owner").post("/teams", name="Power", slug="power")["slug"] == "power"


def test_of_many_who_take_a_slug_at_once_one_has_it(owner: Seat) -> None:
    """A double click makes one team."""
    body = {"name": "Radio", "slug": "radio"}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: owner.ask("POST", "/teams", json=body).status_code, range(4)))
    assert sorted(answers) == [201, 409, 409, 409]


def test_a_team_needs_a_name_and_a_slug(owner: Seat, refused: Refusals) -> None:
    """Both are told at once."""
    issues = refused(owner.ask("POST", "/teams", json={}), 400)["issues"]
    assert {tuple(issue["path"]) for issue in issues} == {("body", "name"), ("body", "slug")}
    assert {issue["message"] for issue in issues} == {"Required"}


def test_a_team_is_renamed(owner: Seat, team: dict[str, Any]) -> None:
    """What was not sent stays; sending what is there already is no change."""
    owner.post(f"/teams/{team['id']}/members", userId=owner.user.uid)
    renamed = owner.ask("PATCH", f"/teams/{team['id']}", json={"name": "Power"}).json()
    assert (renamed["name"], renamed["slug"], renamed["memberCount"]) == ("Power", "power", 1)
    assert renamed["updatedAt"] > team["updatedAt"]
    assert owner.ask("PATCH", f"/teams/{team['id']}", json={"name": "Power"}).json() == renamed
    [entry] = owner.get("/audit-log", action="team.update")["items"]
    assert entry["metadata"] == {"name": "Power"}


def test_a_deleted_team_is_gone(owner: Seat, team: dict[str, Any], refused: Refusals) -> None:
    """With who was in it; its slug is free again."""
    owner.post(f"/teams/{team['id']}/members", userId=owner.user.uid)
    assert owner.ask("DELETE", f"/teams/{team['id']}").status_code == 204
    for path in (f"/teams/{team['id']}", f"/teams/{team['id']}/members"):
        assert refused(owner.ask("GET", path), 404)["message"] == "Team not found"
    refused(owner.ask("DELETE", f"/teams/{team['id']}"), 404)
    assert owner.post("/teams", name="Power", slug="power")["memberCount"] == 0
    assert owner.acts()[1] == ("team.delete", team["id"])


def test_members_are_put_in_and_taken_out(orgs: Orgs, owner: Seat, team: dict[str, Any], refused: Refusals) -> None:
    """Who was added last comes first; the count follows."""
    member, path = orgs.seat(owner.org, "member"), f"/teams/{team['id']}/members"
    owner.post(path, userId=owner.user.uid)
    added = owner.post(path, userId=member.user.uid)
    assert added | {"joinedAt": ""} == {
        "id": member.user.uid, "email": member.user.email, "displayName": member.user.name, "joinedAt": "",
    }  # fmt: skip
    told = member.get(path)
    assert [item["id"] for item in told["items"]] == [member.user.uid, owner.user.uid]
    assert (told["items"][0], told["total"]) == (added, 2)
    assert member.get(f"/teams/{team['id']}")["memberCount"] == 2
    assert owner.ask("DELETE", f"{path}/{member.user.uid}").status_code == 204
    refused(owner.ask("DELETE", f"{path}/{member.user.uid}"), 404)
    assert owner.get(path)["total"] == owner.get("/teams")["items"][0]["memberCount"] == 1
    assert member.ask("GET").status_code == 200
    assert [action for action, _ in owner.acts(action="team.*")] == [
        "team.member_remove", "team.member_add", "team.member_add", "team.create",
    ]  # fmt: skip


def test_nobody_is_in_a_team_twice(owner: Seat, team: dict[str, Any]) -> None:
    """Not even when asked for twice at the same moment."""
    path, body = f"/teams/{team['id']}/members", {"userId": owner.user.uid.upper()}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: owner.ask("POST", path, json=body).status_code, range(4)))
    assert sorted(answers) == [201, 409, 409, 409]
    assert owner.get(path)["total"] == 1


def test_only_members_of_the_org_are_in_its_teams(
    orgs: Orgs, owner: Seat, team: dict[str, Any], refused: Refusals
) -> None:
    """A team is no way into an org."""
    stranger = orgs.seat(orgs.make("lab"), "owner")
    for uid in (stranger.user.uid, "00000000-0000-4000-8000-000000000000"):
        body = refused(owner.ask("POST", f"/teams/{team['id']}/members", json={"userId": uid}), 409)
        assert (body["field"], "members" in body["message"]) == ("userId", True)
    assert owner.get(f"/teams/{team['id']}")["memberCount"] == 0


def test_who_is_removed_while_put_into_a_team_is_in_neither(orgs: Orgs, owner: Seat, team: dict[str, Any]) -> None:
    """Otherwise the team would wait for their return with all it was granted."""
    path = f"/teams/{team['id']}/members"
    for _ in range(5):
        member = orgs.seat(owner.org, "member")
        with ThreadPoolExecutor(2) as pool:
            adding = pool.submit(owner.ask, "POST", path, json={"userId": member.user.uid})
            removing = pool.submit(owner.ask, "DELETE", f"/members/{member.user.uid}")
        assert removing.result().status_code == 204
        assert adding.result().status_code in {201, 409}
        assert owner.get(path)["items"] == []


def test_members_change_no_team(orgs: Orgs, owner: Seat, team: dict[str, Any], refused: Refusals) -> None:
    """They look, and no more: not even themselves may they put into one."""
    member, path = orgs.seat(owner.org, "member"), f"/teams/{team['id']}"
    refused(member.ask("POST", "/teams", json={"name": "Mine", "slug": "mine"}), 403)
    refused(member.ask("PATCH", path, json={"name": "Mine"}), 403)
    refused(member.ask("DELETE", path), 403)
    refused(member.ask("POST", f"{path}/members", json={"userId": member.user.uid}), 403)
    refused(member.ask("DELETE", f"{path}/members/{owner.user.uid}"), 403)
    assert owner.get("/teams")["items"] == [team]


def test_another_orgs_team_is_not_found(orgs: Orgs, team: dict[str, Any], refused: Refusals) -> None:
    """An id from elsewhere leads nowhere."""
    other, path = orgs.seat(orgs.make("lab"), "owner"), f"/teams/{team['id']}"
    for method, below, body in (
        ("GET", "", None), ("PATCH", "", {"name": "Mine"}), ("DELETE", "", None), ("GET", "/members", None),
        ("POST", "/members", {"userId": other.user.uid}), ("DELETE", f"/members/{other.user.uid}", None),
    ):  # fmt: skip
        assert refused(other.ask(method, path + below, json=body), 404)["message"] == "Team not found"
