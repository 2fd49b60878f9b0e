"""Incidents over HTTP: opened, found, changed, remarked on, deleted, each in its own tenant."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import delete, insert

from models.base import now, transaction
from models.desk import DeskCounter, Incident
from models.orgs import Org
from support.desk import V1, Desk, Person
from support.envelopes import Refusals

RESOLVED = {"state": "resolved", "resolution_code": "fixed", "resolution_notes": "Restarted."}


def test_an_incident_is_opened_with_everything_worked_out(agent: Person) -> None:
    """One line is enough; the answer is the record, at the address it names."""
    answer = agent.call("POST", "/incidents", json={"short_description": "Orders time out", "impact": "high"})
    body = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{V1}/incidents/INC0000001"
    assert (body["id"], body["number"], body["state"]) == ("INC0000001", "INC0000001", "new")
    assert (body["priority"], body["urgency"], body["tags"]) == ("P2", "medium", [])
    assert (body["assignment_group"], body["opened_by"]) == ("IT Service Desk", agent.email)
    assert body["resolved_at"] is None
    assert len(body["created_at"]) == len("2026-05-19T10:00:00Z")
    assert agent.get("/incidents/INC0000001") == body


def test_the_unversioned_address_is_the_same_desk(agent: Person) -> None:
    """Older clients leave the version out."""
    agent.open()
    assert agent.caller.get("/prod/api/incidents").json() == agent.get("/incidents")


def test_numbers_have_no_gaps_and_no_twins(desk: Desk, agent: Person) -> None:
    """Thirty at once, some refused after they were begun; and each tenant counts for itself."""
    bodies: list[dict[str, Any]] = [{}, {}, {"assignment_group": "Nobody"}] * 10

    def send(extra: dict[str, Any]) -> int:
        return int(agent.call("POST", "/incidents", json={"short_description": "x"} | extra).status_code)

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(send, bodies)) == [201] * 20 + [422] * 10
    listed = agent.get("/incidents", limit=200)
    assert sorted(i["number"] for i in listed["data"]) == [f"INC{n:07d}" for n in range(1, 21)]
    assert desk.person(desk.tenant("other")).open()["number"] == "INC0000001"


def test_a_deleted_number_is_never_given_again(desk: Desk, tenant: Org, agent: Person, refused: Refusals) -> None:
    """A mail that names it must not lead to another incident."""
    number = agent.open()["number"]
    assert agent.call("POST", f"/incidents/{number}/notes", json={"note": "x"}).status_code == 201
    refused(agent.call("DELETE", f"/incidents/{number}"), 403, "forbidden")
    admin = desk.person(tenant, "super_admin")
    assert admin.call("DELETE", f"/incidents/{number}").status_code == 204
    refused(admin.call("DELETE", f"/incidents/{number}"), 404, "not_found")
    assert agent.open()["number"] == "INC0000002"


def test_another_tenants_incident_is_not_there(desk: Desk, agent: Person, refused: Refusals) -> None:
    """Not even that it exists may be told."""
    number = agent.open()["number"]
    stranger = desk.person(desk.tenant("other"), "super_admin")
    assert stranger.get("/incidents") == {"data": [], "total": 0}
    for method, path, body in [
        ("GET", "", None), ("PATCH", "", {"impact": "high"}), ("DELETE", "", None),
        ("GET", "/notes", None), ("POST", "/notes", {"note": "x"}),
    ]:  # fmt: skip
        refused(stranger.call(method, f"/incidents/{number}{path}", json=body), 404, "not_found")
    assert agent.get(f"/incidents/{number}")["impact"] == "medium"


@pytest.mark.parametrize("role", ["viewer", "developer", "ai_engineer", "cloud_admin"])
def test_who_is_no_agent_reads_only(desk: Desk, tenant: Org, agent: Person, refused: Refusals, role: str) -> None:
    """Every role reads, four write."""
    number, reader = agent.open()["number"], desk.person(tenant, role)
    assert reader.get(f"/incidents/{number}")["number"] == number
    refused(reader.call("POST", "/incidents", json={"short_description": "x"}), 403, "forbidden")
    refused(reader.patch(number, impact="high"), 403, "forbidden")
    refused(reader.call("POST", f"/incidents/{number}/notes", json={"note": "x"}), 403, "forbidden")


def test_a_patch_changes_what_it_says_and_nothing_else(agent: Person, refused: Refusals) -> None:
    """Merge semantics; saying what holds already leaves no trace."""
    before = agent.open(category="database", tags=["a"])
    same = agent.patch(before["id"], tags=["a"], state="new")
    assert same.json() == before
    after = agent.patch(before["id"], urgency="high", category=None, tags=[]).json()
    changed = {name for name in before if before[name] != after[name]} - {"updated_at"}
    assert changed == {"urgency", "priority", "category", "tags"}
    assert after["priority"] == "P2"
    for wrong in ({}, {"number": "INC0000009"}, {"color": "red"}, {"state": "on_hold"}, {"priority": None}):
        refused(agent.patch(before["id"], **wrong), 400, "validation_failed")


def test_an_incident_is_worked_to_its_end(agent: Person, refused: Refusals) -> None:
    """Resolved with a reason, reopened, resolved again, closed; then only notes."""
    number = agent.open()["number"]
    refused(agent.patch(number, state="closed"), 409, "invalid_state_transition")
    refused(agent.patch(number, state="resolved"), 422, "missing_resolution")
    assert agent.patch(number, **RESOLVED).json()["resolved_at"]
    reopened = agent.patch(number, state="in_progress").json()
    assert [reopened[name] for name in ("resolved_at", "resolution_code", "resolution_notes")] == [None] * 3
    agent.patch(number, **RESOLVED)
    closed = agent.patch(number, state="closed").json()
    assert closed["resolved_at"]
    assert closed["closed_at"]
    refused(agent.patch(number, impact="high"), 409, "invalid_state_transition")
    assert agent.call("POST", f"/incidents/{number}/notes", json={"note": "Thanks."}).status_code == 201


def test_work_is_given_to_active_members_of_the_group(
    desk: Desk, tenant: Org, agent: Person, refused: Refusals
) -> None:
    """Somebody who cannot see the queue would never know."""
    manager, idle = desk.person(tenant, "itsm_manager"), desk.person(tenant, email="idle@example.com", is_active=False)
    body = {"name": "Storage", "members": [agent.id, idle.id]}
    assert manager.call("POST", "/groups", json=body).status_code == 201
    given = agent.open(assignment_group="Storage", assigned_to=agent.email.upper())
    assert given["assigned_to"] == agent.email
    for wrong in (idle.email, manager.email, "nobody@example.com"):
        refused(agent.patch(given["id"], assigned_to=wrong), 422, "unknown_reference")
    refused(agent.patch(given["id"], assignment_group="IT Service Desk"), 422, "unknown_reference")
    moved = agent.patch(given["id"], assignment_group="IT Service Desk", assigned_to=None).json()
    assert (moved["assignment_group"], moved["assigned_to"]) == ("IT Service Desk", None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ci_id": "CI0000001"},
        {"parent_problem_id": "PRB0000001"},
        {"change_id": "CHG0000001"},
        {"assignment_group": "X"},
    ],
)
def test_a_record_nobody_has_is_no_reference(agent: Person, refused: Refusals, wrong: dict[str, str]) -> None:
    """A link that leads nowhere is worse than none."""
    body = refused(agent.call("POST", "/incidents", json={"short_description": "x"} | wrong), 422, "unknown_reference")
    assert next(iter(wrong)) in body["error"]
    assert agent.get("/incidents")["total"] == 0


def test_every_filter_holds(agent: Person) -> None:
    """Each alone and all at once; words of `q` may stand anywhere, in any case."""
    first = agent.open(short_description="Orders 100% down", category="database", impact="high", urgency="high")
    second = agent.open(short_description="Mail slow", description="since the ORDERS moved", category="email")
    agent.patch(second["id"], state="in_progress")
    for filters, found in [
        ({"state": "new"}, [first]), ({"state": "new,in_progress"}, [second, first]), ({"priority": "P1,P2"}, [first]),
        ({"assignment_group": "Collaboration Services"}, [second]), ({"category": "database"}, [first]),
        ({"opened_by": agent.email.upper()}, [second, first]), ({"assigned_to": agent.email}, []),
        ({"q": "orders"}, [second, first]), ({"q": "slow orders"}, [second]), ({"q": "100%"}, [first]),
        ({"q": second["id"].lower()}, [second]), ({"q": "%"}, [first]), ({"ci_id": "CI0000001"}, []),
        ({"created_after": "2020-01-01T00:00:00Z", "created_before": "2999-01-01T00:00:00+01:00"}, [second, first]),
        ({"created_after": "2999-01-01T00:00:00Z"}, []), ({"state": "new", "category": "email"}, []),
    ]:  # fmt: skip
        page = agent.get("/incidents", **filters)
        assert [i["id"] for i in page["data"]] == [i["id"] for i in found], filters
        assert page["total"] == len(found)


@pytest.mark.parametrize(
    ("filters", "code"),
    [
        ({"state": "on_hold"}, "validation_failed"), ({"created_after": "yesterday"}, "validation_failed"),
        ({"page": "2"}, "validation_failed"), ({"limit": "201"}, "validation_failed"),
        ({"sort": "number"}, "validation_failed"), ({"cursor": "bm8"}, "invalid_cursor"),
    ],
)  # fmt: skip
def test_a_list_refuses_what_it_does_not_know(
    agent: Person, refused: Refusals, filters: dict[str, str], code: str
) -> None:
    """A filter that is ignored answers what was not asked; an ignored `page` loops clients for ever."""
    refused(agent.call("GET", "/incidents", params=filters), 400, code)


def test_a_cursor_belongs_to_its_query(agent: Person, refused: Refusals) -> None:
    """With another filter or order it would skip records without a word."""
    for _ in range(3):
        agent.open()
    cursor = agent.get("/incidents", limit=1)["next_cursor"]
    for other in ({"state": "new"}, {"order": "asc"}, {"sort": "updated_at"}, {"sort": "priority"}):
        params = {"cursor": cursor, "limit": 1} | other
        refused(agent.call("GET", "/incidents", params=params), 400, "invalid_cursor")


def seed(desk: Desk, agent: Person, count: int) -> set[str]:
    """The numbers of so many incidents, put straight into the database, all of one moment."""
    moment = now()
    same = {"org_id": agent.org_id, "description": "", "impact": "low", "urgency": "low", "state": "new", "tags": []}
    same |= {
        "assignment_group": "IT Service Desk",
        "opened_by": agent.email,
        "created_at": moment,
        "updated_at": moment,
    }
    rows = [
        same | {"number": f"INC{n:07d}", "short_description": f"{n}", "priority": f"P{n % 4 + 1}"}
        for n in range(1, count + 1)
    ]
    with transaction(desk.runtime.engine) as session:
        session.execute(delete(DeskCounter))
        session.add(DeskCounter(org_id=agent.org_id, prefix="INC", last=count))
        session.execute(insert(Incident), rows)
    return {str(row["number"]) for row in rows}


@pytest.mark.parametrize("order", [{}, {"sort": "priority", "order": "asc"}, {"sort": "updated_at", "order": "asc"}])
def test_pages_give_each_record_once_while_others_are_opened(desk: Desk, agent: Person, order: dict[str, str]) -> None:
    """1,250 records, 50 to a page, two new ones between any two pages: nothing twice, nothing missed."""
    known = seed(desk, agent, 1250)
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 50} | order
    while True:
        page = agent.get("/incidents", **params)
        assert page["total"] >= len(known)
        seen += [incident["id"] for incident in page["data"]]
        if "next_cursor" not in page:
            break
        params["cursor"] = page["next_cursor"]
        agent.open(priority="P1")
        agent.open(priority="P4")
    assert len(seen) == len(set(seen))
    assert known <= set(seen)


def test_p1_comes_first_when_sorted_by_priority(agent: Person) -> None:
    """`asc` on a priority means the most urgent first."""
    for priority in ("P3", "P1", "P4"):
        agent.open(priority=priority)
    listed = agent.get("/incidents", sort="priority", order="asc")["data"]
    assert [incident["priority"] for incident in listed] == ["P1", "P3", "P4"]


def test_notes_are_kept_from_viewers_unless_public(desk: Desk, tenant: Org, agent: Person) -> None:
    """Newest first; what the desk says among itself stays there."""
    number = agent.open()["number"]
    for note in ({"note": "Looks like the disk."}, {"note": "We are on it.", "visibility": "public"}):
        answer = agent.call("POST", f"/incidents/{number}/notes", json=note)
        assert answer.json()["author"] == agent.email
    listed = agent.get(f"/incidents/{number}/notes")
    assert [n["visibility"] for n in listed["data"]] == ["public", "internal"]
    told = desk.person(tenant, "viewer").get(f"/incidents/{number}/notes")
    assert [n["note"] for n in told["data"]] == ["We are on it."]
    assert told["total"] == 1
    paged = agent.get(f"/incidents/{number}/notes", limit=1)
    rest = agent.get(f"/incidents/{number}/notes", limit=1, cursor=paged["next_cursor"])
    assert [paged["data"][0], rest["data"][0]] == listed["data"]


def test_times_are_told_in_whole_seconds(agent: Person) -> None:
    """What was just opened was opened now."""
    told = datetime.fromisoformat(agent.open()["created_at"])
    assert abs((datetime.now(UTC) - told).total_seconds()) < 5
