"""Organizations: who sees, makes, renames and deletes them.

Operations: `list_orgs`, `create_org`, `get_org`, `update_org`, `delete_org`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app.security.keys import fingerprint
from models.audit import AuditEntry
from models.base import now, transaction
from models.orgs import Invitation, Membership
from support.envelopes import Refusals
from support.orgs import Orgs, Seat

ROUNDS = 5


@pytest.fixture
def operator(orgs: Orgs, owner: Seat) -> Seat:
    """Somebody who operates the server, and is a stranger to Test Bench."""
    return orgs.seat(owner.org, is_admin=True)


def test_one_lists_ones_own_orgs(orgs: Orgs, owner: Seat) -> None:
    """Newest first, with the role in each and the members of all; nothing of others."""
    orgs.seat(orgs.make("of-others"), "owner")
    lab = orgs.make("lab")
    orgs.seat(lab, "owner")
    orgs.elsewhere(owner, lab, "member")
    answer = owner.caller.get("/api/orgs")
    told = [(org["name"], org["slug"], org["role"], org["memberCount"]) for org in answer.json()["items"]]
    assert told == [("Lab", "lab", "member", 2), ("Test Bench", "test-bench", "owner", 1)]
    second = owner.caller.get("/api/orgs", params={"page": 2, "limit": 1}).json()
    assert [org["slug"] for org in second.pop("items")] == ["test-bench"]
    assert second == {"total": 2, "page": 2, "limit": 1}


def test_pages_have_their_bounds(owner: Seat, refused: Refusals) -> None:
    """Twenty unless asked, a hundred at most, and nothing past the end."""
    told = owner.caller.get("/api/orgs", params={"page": 9}).json()
    assert (told["items"], told["total"], told["limit"]) == ([], 1, 20)
    assert owner.caller.get("/api/orgs", params={"limit": 100}).status_code == 200
    for limit in ("0", "101", "ten"):
        body = refused(owner.caller.get("/api/orgs", params={"limit": limit}), 400)
        assert body["issues"][0]["path"] == ["query", "limit"]


def test_an_operator_makes_an_org_and_owns_it(operator: Seat) -> None:
    """Its maker may act in it from the next request on, be their token remembered or not."""
    assert operator.caller.get("/api/orgs").json()["total"] == 0
    answer = operator.caller.post("/api/orgs", json={"name": " Lab ", "slug": "lab-2"})
    made = answer.json()
    assert (answer.status_code, made["name"], made["slug"], made["role"]) == (201, "Lab", "lab-2", "owner")
    assert (made["memberCount"], made["isPersonal"]) == (1, False)
    assert operator.caller.get(answer.headers["location"]).json() == made
    [entry] = operator.caller.get(f"/api/orgs/{made['id']}/audit-log").json()["items"]
    assert (entry["action"], entry["metadata"]) == ("org.create", {"name": "Lab", "slug": "lab-2"})


def test_others_make_none(owner: Seat, refused: Refusals) -> None:
    """Owning one org gives no right to another."""
    refused(owner.caller.post("/api/orgs", json={"name": "Lab", "slug": "lab"}), 403)


def test_a_slug_is_one_orgs(operator: Seat, owner: Seat, orgs: Orgs, refused: Refusals) -> None:
    """The refusal names the field, whether an org is made or renamed, and changes nothing."""
    orgs.make("lab")
    for answer in (
        operator.caller.post("/api/orgs", json={"name": "Lab", "slug": "lab"}),
        owner.ask("PATCH", json={"name": "Other", "slug": "lab"}),
    ):
        body = refused(answer, 409, "conflict")
        assert "slug" in body["message"]
        assert body["field"] == "slug"
    assert owner.get()["name"] == "Test Bench"


def test_of_many_who_take_a_slug_at_once_one_has_it(operator: Seat) -> None:
    """Looking first and writing then would let two through."""
    body = {"name": "Lab", "slug": "lab"}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: operator.caller.post("/api/orgs", json=body).status_code, range(4)))
    assert sorted(answers) == [201, 409, 409, 409]
    assert operator.caller.get("/api/orgs").json()["total"] == 1


@pytest.mark.parametrize(("body", "path", "message"), [
    ({"slug": "lab"}, ["body", "name"], "Required"),
    ({"name": "Lab"}, ["body", "slug"], "Required"),
    ({"name": " ", "slug": "lab"}, ["body", "name"], "Invalid"),
    ({"name": "Lab", "slug": "Lab"}, ["body", "slug"], "Invalid"),
    ({"name": "Lab", "slug": "a--b"}, ["body", "slug"], "Invalid"),
    ({"name": "Lab", "slug": "a" * 65}, ["body", "slug"], "String must contain at most 64 character(s)"),
    ({"name": "Lab", "slug": "lab", "isPersonal": True}, ["body", "isPersonal"],
     "Unrecognized key(s) in object: 'isPersonal'"),
])  # fmt: skip
def test_what_is_wrong_is_told(
    operator: Seat, refused: Refusals, body: dict[str, Any], path: list[str], message: str
) -> None:
    """Where, and in Zod's words."""
    issues = refused(operator.caller.post("/api/orgs", json=body), 400)["issues"]
    assert issues == [{"path": path, "message": message}]


def test_strangers_find_no_org(operator: Seat, orgs: Orgs, refused: Refusals) -> None:
    """Not even that there is one; operating the server makes nobody a member."""
    for seat in (operator, orgs.seat(operator.org)):
        for method, body in (("GET", None), ("PATCH", {"name": "Mine"}), ("DELETE", None)):
            assert refused(seat.ask(method, json=body), 404)["message"] == "Organization not found"


def test_members_look_and_admins_rename(orgs: Orgs, owner: Seat, refused: Refusals) -> None:
    """A form that sends the slug back unchanged changes no slug."""
    admin, member = (orgs.seat(owner.org, role) for role in ("admin", "member"))
    assert member.get() | {"role": "owner"} == owner.get()
    refused(member.ask("PATCH", json={"name": "Mine"}), 403)
    renamed = admin.ask("PATCH", json={"name": "Bench", "slug": "test-bench"}).json()
    assert (renamed["name"], renamed["slug"], renamed["role"], renamed["memberCount"]) == (
        "Bench", "test-bench", "admin", 3,
    )  # fmt: skip
    assert renamed["updatedAt"] > renamed["createdAt"]
    assert owner.acts() == [("org.update", owner.org.uid)]


def test_the_slug_is_the_owners(orgs: Orgs, owner: Seat, refused: Refusals) -> None:
    """Other addresses are made from it."""
    refused(orgs.seat(owner.org, "admin").ask("PATCH", json={"name": "Bench", "slug": "bench"}), 403)
    assert owner.get()["name"] == "Test Bench"
    assert owner.ask("PATCH", json={"slug": "bench"}).json()["slug"] == "bench"


def test_changing_nothing_is_no_change(owner: Seat) -> None:
    """Neither the moment nor the log tells of one."""
    before = owner.get()
    assert owner.ask("PATCH", json={}).json() == before
    assert owner.ask("PATCH", json={"name": "Test Bench"}).json() == before
    assert owner.acts() == []


def test_the_last_member_deletes_the_org(orgs: Orgs, owner: Seat, refused: Refusals) -> None:
    """While there are others it stays; afterwards its members find nothing, and the log still knows."""
    admin = orgs.seat(owner.org, "admin")
    refused(admin.ask("DELETE"), 403)
    assert "members" in refused(owner.ask("DELETE"), 409)["message"]
    assert owner.ask("DELETE", f"/members/{admin.user.uid}").status_code == 204
    assert owner.ask("DELETE").status_code == 204
    refused(owner.ask("GET"), 404)
    assert owner.caller.get("/api/orgs").json()["items"] == []
    with transaction(orgs.runtime.engine, write=False) as session:
        kept = session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()
    assert [(entry.action, entry.org_id) for entry in kept] == [("member.remove", None), ("org.delete", None)]
    assert kept[1].resource_id == owner.org.uid


def test_nobody_joins_what_is_deleted_meanwhile(orgs: Orgs, refused: Refusals) -> None:
    """Either somebody is in and the org stays, or it is gone and so is the invitation."""
    guest = orgs.seat(orgs.make("guests"))
    for number in range(ROUNDS):
        host = orgs.seat(orgs.make(f"round-{number}"), "owner")
        token = f"{number}" * 43
        row = Invitation(org_id=host.org.id, email=guest.user.email, role="admin", expires_at=now() + timedelta(days=1))
        row.token_hash = fingerprint(token, orgs.runtime.secrets.pepper)
        with transaction(orgs.runtime.engine) as session:
            session.add(row)
        with ThreadPoolExecutor(2) as pool:
            deleting = pool.submit(host.ask, "DELETE")
            joining = pool.submit(guest.caller.post, f"/api/auth/invitations/{token}/accept")
        outcome = (deleting.result().status_code, joining.result().status_code)
        assert outcome in {(204, 410), (409, 200)}
        with transaction(orgs.runtime.engine, write=False) as session:
            inside = session.scalars(select(Membership).where(Membership.org_id == host.org.id)).all()
        assert len(inside) == (0 if outcome[0] == 204 else 2)
