"""Groups of the service desk and the people in them."""

from __future__ import annotations

import pytest

from models.orgs import Org
from support.desk import V1, Desk, Person
from support.envelopes import Refusals


@pytest.fixture
def manager(desk: Desk, tenant: Org) -> Person:
    """A manager of the tenant."""
    return desk.person(tenant, "itsm_manager")


def test_a_tenant_starts_with_the_groups_incidents_go_to(agent: Person) -> None:
    """Routing must never lead to a group nobody finds."""
    listed = agent.get("/groups")
    names = [group["name"] for group in listed["data"]]
    assert names == sorted(names)
    assert {"IT Service Desk", "Platform Engineering", "Security Operations", "Collaboration Services"} <= set(names)
    assert listed["total"] == len(names) == 5


def test_a_group_is_made_and_found(manager: Person, agent: Person, refused: Refusals) -> None:
    """By its address and in the list; a second one of the name is refused."""
    body = {"name": "Storage", "code": "STORAGE", "skills": ["ceph"], "members": [agent.id], "manager_id": manager.id}
    answer = manager.call("POST", "/groups", json=body)
    made = answer.json()
    assert answer.headers["location"] == f"{V1}/groups/{made['id']}"
    assert body.items() <= made.items()
    assert made["type"] == "support"
    assert agent.get(f"/groups/{made['id']}") == made
    refused(manager.call("POST", "/groups", json={"name": "Storage"}), 409, "conflict")


def test_members_come_and_go(manager: Person, agent: Person) -> None:
    """Twice in is in, never in is out; what was not named stays."""
    group = manager.call("POST", "/groups", json={"name": "Storage", "members": [agent.id]}).json()["id"]
    path = f"/groups/{group}/members"
    both = manager.call("PATCH", path, json={"add": [agent.id, manager.id, manager.id]}).json()
    assert set(both["members"]) == {agent.id, manager.id}
    left = manager.call("PATCH", path, json={"remove": [agent.id, agent.id]}).json()
    assert left["members"] == [manager.id]
    assert agent.get(f"/groups/{group}")["members"] == [manager.id]


def test_only_managers_change_groups(agent: Person, refused: Refusals) -> None:
    """Who is in a group decides who is given work."""
    group = agent.get("/groups")["data"][0]["id"]
    refused(agent.call("POST", "/groups", json={"name": "Mine"}), 403, "forbidden")
    refused(agent.call("PATCH", f"/groups/{group}/members", json={"add": [agent.id]}), 403, "forbidden")


def test_tenants_do_not_share_groups_or_people(desk: Desk, manager: Person, agent: Person, refused: Refusals) -> None:
    """Not by address, not by membership, not by name."""
    stranger = desk.person(desk.tenant("other"), "super_admin")
    group = manager.call("POST", "/groups", json={"name": "Storage"}).json()["id"]
    refused(stranger.call("GET", f"/groups/{group}"), 404, "not_found")
    refused(stranger.call("PATCH", f"/groups/{group}/members", json={"add": [stranger.id]}), 404, "not_found")
    refused(manager.call("PATCH", f"/groups/{group}/members", json={"add": [stranger.id]}), 422, "unknown_reference")
    refused(manager.call("POST", "/groups", json={"name": "X", "manager_id": stranger.id}), 422, "unknown_reference")
    refused(manager.call("GET", f"/users/{stranger.id}"), 404, "not_found")
    assert stranger.call("POST", "/groups", json={"name": "Storage"}).status_code == 201
    assert stranger.get("/users")["total"] == 1


def test_people_are_found_by_what_is_known_of_them(desk: Desk, tenant: Org, manager: Person, agent: Person) -> None:
    """Role, group, name, address, and whether they may sign in."""
    idle = desk.person(tenant, "viewer", "idle@example.com", is_active=False)
    manager.call("POST", "/groups", json={"name": "Storage", "members": [agent.id]})
    for filters, found in [
        ({"role": "itsm_agent"}, [agent]), ({"active": "false"}, [idle]), ({"group": "Storage"}, [agent]),
        ({"q": "IDLE example"}, [idle]), ({"group": "Nobody"}, []), ({}, [idle, agent, manager]),
    ]:  # fmt: skip
        listed = manager.get("/users", **filters)
        assert {person["id"] for person in listed["data"]} == {person.id for person in found}, filters
        assert listed["total"] == len(found)
    shown = manager.get(f"/users/{agent.id}")
    assert (shown["email"], shown["role"], shown["assignment_groups"]) == (agent.email, "itsm_agent", ["Storage"])
