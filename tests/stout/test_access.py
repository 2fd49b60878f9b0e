"""Who may use boxes: owners and admins, and whom they are granted to, by name, by team or with a group.

`get_box_access`, `create_box_grant`, `delete_box_grant`; of groups `list_group_grants`, `create_group_grant`,
`delete_group_grant`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from models.base import transaction
from models.orgs import TeamMember
from support.accounts import People
from support.callers import Caller
from support.envelopes import Refusals
from support.fleet import NOWHERE, Fleet

BOB = "bob@acme.example"


@pytest.fixture
def bob(fleet: Fleet) -> Caller:
    """A member with no grant."""
    return fleet.join(BOB)


@pytest.fixture
def box(fleet: Fleet) -> str:
    """The path of a box."""
    return fleet.box()


def seen(caller: Caller, fleet: Fleet) -> list[str]:
    """The names of the boxes somebody is shown."""
    return [box["name"] for box in caller.get(f"{fleet.path}/boxes").json()["items"]]


def test_an_ungranted_member_is_refused_and_shown_nothing(
    fleet: Fleet, box: str, bob: Caller, refused: Refusals
) -> None:
    """The box is there, and not theirs to use."""
    for part in ("", "/heartbeats", "/lock", "/access"):
        refused(bob.get(f"{box}{part}"), 403)
    assert seen(bob, fleet) == []


def test_a_grant_by_name_holds_until_it_is_taken_back(fleet: Fleet, box: str, bob: Caller, refused: Refusals) -> None:
    """At once, either way, and for this box alone."""
    fleet.box("bench-2")
    answer = fleet.owner.post(f"{box}/access", json={"userId": fleet.ids[BOB]})
    grant = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{box}/access/{grant['id']}"
    assert (grant["targetType"], grant["targetId"]) == ("box", box.rpartition("/")[2])
    assert grant["user"] == {"id": fleet.ids[BOB], "email": BOB, "displayName": "Bob"}
    assert grant["grantedById"] == fleet.ids["owner@acme.example"]
    assert bob.get(box).status_code == 200
    assert seen(bob, fleet) == ["bench-1"]
    assert fleet.owner.delete(f"{box}/access/{grant['id']}").status_code == 204
    refused(bob.get(box), 403)
    refused(fleet.owner.delete(f"{box}/access/{grant['id']}"), 404)


def test_a_grant_to_a_team_holds_for_who_is_in_it(
    fleet: Fleet, box: str, bob: Caller, people: People, refused: Refusals
) -> None:
    """Joining the team is enough, and leaving it ends it."""
    team = fleet.team("night-shift")
    assert fleet.owner.post(f"{box}/access", json={"teamId": team}).json()["team"]["slug"] == "night-shift"
    refused(bob.get(box), 403)
    late = fleet.team("late-shift", BOB)
    assert fleet.owner.post(f"{box}/access", json={"teamId": late}).status_code == 201
    assert bob.get(box).status_code == 200
    with transaction(people.engine) as session:
        session.query(TeamMember).delete()
    refused(bob.get(box), 403)


def test_a_grant_of_a_group_is_one_of_each_box_in_it(fleet: Fleet, bob: Caller, refused: Refusals) -> None:
    """Of those that come later too, and no longer of those that leave."""
    group = fleet.group("power")
    answer = fleet.owner.post(f"{group}/access", json={"userId": fleet.ids[BOB]})
    assert answer.headers["location"] == f"{group}/access/{answer.json()['id']}"
    assert answer.json()["targetType"] == "group"
    box = fleet.box(groupIds=[group.rpartition("/")[2]])
    assert bob.get(box).status_code == 200
    assert seen(bob, fleet) == ["bench-1"]
    assert fleet.owner.delete(f"{group}/boxes/{box.rpartition('/')[2]}").status_code == 204
    refused(bob.get(box), 403)


def test_a_grant_of_a_group_to_a_team(fleet: Fleet, bob: Caller, refused: Refusals) -> None:
    """Both ways of naming many at once work together."""
    group, team = fleet.group("power"), fleet.team("night-shift", BOB)
    box = fleet.box(groupIds=[group.rpartition("/")[2]])
    grant = fleet.owner.post(f"{group}/access", json={"teamId": team}).json()
    assert bob.get(box).status_code == 200
    assert fleet.owner.get(f"{group}/access").json()["items"] == [grant]
    assert fleet.owner.delete(f"{group}/access/{grant['id']}").status_code == 204
    assert fleet.owner.get(f"{group}/access").json()["total"] == 0
    refused(bob.get(box), 403)


def test_a_grant_is_given_once(fleet: Fleet, box: str, bob: Caller, refused: Refusals) -> None:
    """To each, of each; however many ask at the same moment."""
    with ThreadPoolExecutor(4) as pool:
        body = {"userId": fleet.ids[BOB]}
        answers = list(pool.map(lambda _: fleet.owner.post(f"{box}/access", json=body), range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert refused(fleet.owner.post(f"{box}/access", json=body), 409)["field"] == "userId"
    group, team = fleet.group(), fleet.team("night-shift")
    assert fleet.owner.post(f"{group}/access", json={"teamId": team}).status_code == 201
    assert refused(fleet.owner.post(f"{group}/access", json={"teamId": team}), 409)["field"] == "teamId"


def test_only_members_and_teams_of_the_org_are_granted(
    fleet: Fleet, box: str, people: People, refused: Refusals
) -> None:
    """Strangers would stay strangers; the refusal says which is missing."""
    other = Fleet(people, "umbrella")
    stranger = other.ids["owner@umbrella.example"]
    body = {"userId": stranger}
    assert refused(fleet.owner.post(f"{box}/access", json=body), 404)["message"] == "Member not found"
    body = {"teamId": other.team("theirs")}
    assert refused(fleet.owner.post(f"{box}/access", json=body), 404)["message"] == "Team not found"
    group = fleet.group()
    assert refused(fleet.owner.post(f"{group}/access", json=body), 404)["message"] == "Team not found"


@pytest.mark.parametrize("body", [{}, {"userId": NOWHERE, "teamId": NOWHERE}, {"groupId": NOWHERE}, {"userId": "bob"}])
def test_a_grant_is_to_one_user_or_one_team(fleet: Fleet, box: str, refused: Refusals, body: dict[str, str]) -> None:
    """Never to both, to neither, or to something else."""
    refused(fleet.owner.post(f"{box}/access", json=body), 400)


def test_a_grant_is_taken_back_where_it_was_given(fleet: Fleet, box: str, bob: Caller, refused: Refusals) -> None:
    """Not by way of another box or of a group."""
    grant = fleet.owner.post(f"{box}/access", json={"userId": fleet.ids[BOB]}).json()["id"]
    group = fleet.group()
    assert refused(fleet.owner.delete(f"{fleet.box('bench-2')}/access/{grant}"), 404)
    assert refused(fleet.owner.delete(f"{group}/access/{grant}"), 404)
    assert bob.get(box).status_code == 200


def test_members_grant_nothing(fleet: Fleet, box: str, bob: Caller, refused: Refusals) -> None:
    """Not even what was granted to them."""
    fleet.owner.post(f"{box}/access", json={"userId": fleet.ids[BOB]})
    group = fleet.group()
    for path in (box, group):
        refused(bob.post(f"{path}/access", json={"userId": fleet.ids["owner@acme.example"]}), 403)
        refused(bob.delete(f"{path}/access/{NOWHERE}"), 403)
    refused(bob.get(f"{group}/access"), 403)


def test_everybody_with_access_is_told_once_and_why(fleet: Fleet, bob: Caller, people: People) -> None:
    """The strongest reason counts: the role, then the name, then the team, then the group."""
    group = fleet.group()
    box = fleet.box(groupIds=[group.rpartition("/")[2]])
    for name in ("cid", "dan", "eva"):
        fleet.join(f"{name}@acme.example")
    everybody = [BOB, *(f"{name}@acme.example" for name in ("cid", "dan")), "owner@acme.example"]
    fleet.owner.post(f"{group}/access", json={"teamId": fleet.team("all", *everybody)})
    fleet.owner.post(f"{box}/access", json={"teamId": fleet.team("some", *everybody[:2])})
    fleet.owner.post(f"{box}/access", json={"userId": fleet.ids[BOB]})
    told = bob.get(f"{box}/access").json()
    found = {one["user"]["email"]: one["via"] for one in told["effective"]}
    assert found == {
        BOB: "direct", "cid@acme.example": "team", "dan@acme.example": "group", "owner@acme.example": "role",
    }  # fmt: skip
    assert [row["user"]["email"] for row in told["members"]] == [BOB]
    assert [row["team"]["slug"] for row in told["teams"]] == ["some"]
