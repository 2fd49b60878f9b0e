"""Members of an organization: who is one, as what, and how that ends.

Operations: `list_members`, `update_member`, `remove_member`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select, update

from app.factory import create
from app.settings import Settings
from models.base import transaction
from models.orgs import Membership
from support.callers import Client
from support.databases import Template
from support.envelopes import Refusals
from support.orgs import Orgs, Seat

ROUNDS = 5
DESK = "/prod/api/v1"


@pytest.fixture
def another_worker(settings: Settings, document: dict[str, Any], backend: Template, client: Client) -> Iterator[Client]:
    """A second worker on the same database."""
    with Client(create(settings, document), backend.keys) as opened:
        yield opened
    opened.application.runtime.engine.dispose()


def role_of(seat: Seat, other: Seat) -> str:
    """What somebody is in the org, as another member sees it; empty when they are in it no more."""
    items = seat.get("/members", limit=100)["items"]
    return next((item["role"] for item in items if item["userId"] == other.user.uid), "")


def test_members_are_listed(orgs: Orgs, owner: Seat) -> None:
    """Every member may look; who joined last comes first."""
    orgs.seat(orgs.make("of-others"), "owner")
    member = orgs.seat(owner.org, "member")
    told = member.get("/members")
    assert [item["userId"] for item in told["items"]] == [member.user.uid, owner.user.uid]
    assert {k: told[k] for k in ("total", "page", "limit")} == {"total": 2, "page": 1, "limit": 20}
    first = told["items"][0]
    assert first["user"] == {"id": member.user.uid, "email": member.user.email, "displayName": member.user.name}
    assert (first["orgId"], first["role"], first["createdAt"]) == (owner.org.uid, "member", first["joinedAt"])
    assert len({item["id"] for item in told["items"]}) == 2
    assert member.get("/members", page=2, limit=1)["items"] == told["items"][1:]


def test_members_are_found_by_role_and_words(orgs: Orgs, owner: Seat) -> None:
    """Every word must be in the name or the address; signs of the database's patterns are only signs."""
    ada = orgs.seat(owner.org, "admin", "ada@example.com", name="Ada Lovelace")
    grace = orgs.seat(owner.org, "member", "grace@navy.example", name="Grace Hopper")

    def found(**asked: str) -> list[str]:
        return [item["userId"] for item in owner.get("/members", **asked)["items"]]

    assert found(role="admin") == [ada.user.uid]
    assert found(search="LOVE") == [ada.user.uid]
    assert found(search="navy grace") == [grace.user.uid]
    assert found(search="grace", role="admin") == found(search="ada grace") == found(search="%") == []
    assert owner.get("/members", search="hopper")["total"] == 1


def test_only_known_roles_are_looked_for(owner: Seat, refused: Refusals) -> None:
    """A misspelt filter must not answer everybody."""
    body = refused(owner.ask("GET", "/members", params={"role": "boss"}), 400)
    assert body["issues"][0]["path"] == ["query", "role"]


@pytest.mark.parametrize(("by", "whose", "role", "status"), [
    ("owner", "member", "admin", 200), ("owner", "member", "owner", 200), ("owner", "admin", "member", 200),
    ("owner", "owner", "member", 200), ("admin", "member", "admin", 200), ("admin", "admin", "member", 200),
    ("admin", "member", "owner", 403), ("admin", "owner", "admin", 403), ("admin", "owner", "owner", 403),
    ("member", "member", "admin", 403),
])  # fmt: skip
def test_who_may_change_whose_role(orgs: Orgs, owner: Seat, by: str, whose: str, role: str, status: int) -> None:
    """Admins neither make nor unmake owners; members change nobody."""
    actor, target = orgs.seat(owner.org, by), orgs.seat(owner.org, whose)
    answer = actor.ask("PATCH", f"/members/{target.user.uid}", json={"role": role})
    assert answer.status_code == status
    assert role_of(owner, target) == (role if status == 200 else whose)
    if status == 200:
        assert answer.json()["role"] == role
        [entry] = owner.get("/audit-log")["items"]
        assert (entry["action"], entry["resourceId"]) == ("member.role_change", target.user.uid)
        assert (entry["actorId"], entry["metadata"]) == (actor.user.uid, {"before": whose, "after": role})


def test_nobody_raises_themself(orgs: Orgs, owner: Seat, refused: Refusals) -> None:
    """An admin's own role is no exception."""
    admin = orgs.seat(owner.org, "admin")
    refused(admin.ask("PATCH", f"/members/{admin.user.uid}", json={"role": "owner"}), 403)
    assert owner.acts() == []


def test_the_role_one_has_is_no_change(owner: Seat) -> None:
    """Even the last owner may be told that they are one."""
    assert owner.ask("PATCH", f"/members/{owner.user.uid}", json={"role": "owner"}).status_code == 200
    assert owner.acts() == []


def test_a_role_holds_from_the_next_request_on(orgs: Orgs, owner: Seat, refused: Refusals) -> None:
    """Whatever was remembered of the token."""
    somebody = orgs.seat(owner.org, "member")
    path = f"/members/{somebody.user.uid}"
    refused(somebody.ask("PATCH", json={"name": "Mine"}), 403)
    owner.ask("PATCH", path, json={"role": "admin"})
    assert somebody.ask("PATCH", json={"name": "Ours"}).status_code == 200
    owner.ask("PATCH", path, json={"role": "member"})
    refused(somebody.ask("PATCH", json={"name": "Mine"}), 403)


def test_the_desks_role_follows_the_fleets(orgs: Orgs, owner: Seat) -> None:
    """Unless somebody chose another one there; a desk token of the old role works no more."""
    second = orgs.seat(owner.org, "owner")
    token = second.caller.post(f"{DESK}/auth/token", json={"tenant_id": owner.org.uid}).json()["access_token"]
    desk = orgs.client.bearing(token)
    assert desk.get(f"{DESK}/users").status_code == 200
    owner.ask("PATCH", f"/members/{second.user.uid}", json={"role": "member"})
    assert desk.get(f"{DESK}/users").status_code == 401
    assert desk_role(orgs, second) == "viewer"
    with transaction(orgs.runtime.engine) as session:
        session.execute(update(Membership).where(of(second)).values(desk_role="developer"))
    owner.ask("PATCH", f"/members/{second.user.uid}", json={"role": "admin"})
    assert desk_role(orgs, second) == "developer"


def of(seat: Seat) -> Any:
    """The condition that a membership is this one's."""
    return (Membership.org_id == seat.org.id) & (Membership.user_id == seat.user.id)


def desk_role(orgs: Orgs, seat: Seat) -> str | None:
    """The role at the service desk, as it is stored."""
    with transaction(orgs.runtime.engine, write=False) as session:
        return session.scalar(select(Membership.desk_role).where(of(seat)))


@pytest.mark.parametrize(("by", "whose", "status"), [
    ("owner", "owner", 204), ("owner", "admin", 204), ("admin", "admin", 204), ("admin", "member", 204),
    ("admin", "owner", 403), ("member", "member", 403), ("member", "owner", 403),
])  # fmt: skip
def test_who_may_remove_whom(orgs: Orgs, owner: Seat, by: str, whose: str, status: int) -> None:
    """Removing an owner is no way around the rule that admins do not unmake them."""
    actor, target = orgs.seat(owner.org, by), orgs.seat(owner.org, whose)
    assert actor.ask("DELETE", f"/members/{target.user.uid}").status_code == status
    assert role_of(owner, target) == ("" if status == 204 else whose)
    assert owner.acts() == ([("member.remove", target.user.uid)] if status == 204 else [])


@pytest.mark.parametrize("role", ["member", "admin", "owner"])
def test_anybody_may_leave(orgs: Orgs, owner: Seat, refused: Refusals, role: str) -> None:
    """It takes nobody's leave, and there is no org for them at once."""
    leaving = orgs.seat(owner.org, role)
    assert leaving.ask("DELETE", f"/members/{leaving.user.uid}").status_code == 204
    refused(leaving.ask("GET"), 404)


def test_removal_ends_access_at_once(orgs: Orgs, owner: Seat, refused: Refusals) -> None:
    """To this org with its teams, whatever was remembered of the token; other orgs stay."""
    member = orgs.seat(owner.org, "member")
    lab = orgs.elsewhere(member, orgs.make("lab"), "member")
    team = owner.post("/teams", name="Power", slug="power")["id"]
    owner.post(f"/teams/{team}/members", userId=member.user.uid)
    assert member.ask("GET").status_code == lab.ask("GET").status_code == 200
    assert owner.ask("DELETE", f"/members/{member.user.uid}").status_code == 204
    refused(member.ask("GET"), 404)
    assert lab.ask("GET").status_code == 200
    orgs.elsewhere(member, owner.org, "member")
    assert owner.get(f"/teams/{team}/members")["items"] == []
    refused(owner.ask("DELETE", f"/teams/{team}/members/{member.user.uid}"), 404)


def test_the_other_workers_forget_within_a_second(
    orgs: Orgs, owner: Seat, another_worker: Client, refused: Refusals
) -> None:
    """Each remembers tokens for a minute; a removal must not wait for that."""
    member = orgs.seat(owner.org, "member")
    there = Seat(member.org, member.user, another_worker.bearing(orgs.token(member.user)))
    assert there.ask("GET", "/members").status_code == 200
    owner.ask("DELETE", f"/members/{member.user.uid}")
    refused(within_a_second(lambda: there.ask("GET", "/members"), 404), 404)


def within_a_second(ask: Any, status: int) -> Any:
    """The first answer of this status, or the last one after a second."""
    deadline = time.monotonic() + 1
    while (answer := ask()).status_code != status and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer


def test_a_worker_that_has_not_heard_lets_nobody_change_anything(
    orgs: Orgs, owner: Seat, client: Client, monkeypatch: pytest.MonkeyPatch, refused: Refusals
) -> None:
    """Its memory opens the door for a moment more; the transaction looks again."""
    admin = orgs.seat(owner.org, "admin")
    assert admin.ask("GET").status_code == 200
    monkeypatch.setattr(client.application.runtime, "on_change", [])
    assert owner.ask("PATCH", f"/members/{admin.user.uid}", json={"role": "member"}).status_code == 200
    refused(admin.ask("POST", "/teams", json={"name": "Mine", "slug": "mine"}), 403)
    refused(admin.ask("POST", "/invitations", json={"email": "x@example.com", "role": "admin"}), 403)
    owner.ask("DELETE", f"/members/{admin.user.uid}")
    refused(admin.ask("POST", "/teams", json={"name": "Mine", "slug": "mine"}), 404)
    refused(admin.ask("GET", "/members"), 404)


def test_the_last_owner_stays(orgs: Orgs, owner: Seat, refused: Refusals) -> None:
    """Neither demoted nor removed, not even by themself, until there is another."""
    me = f"/members/{owner.user.uid}"
    for answer in (owner.ask("PATCH", me, json={"role": "admin"}), owner.ask("DELETE", me)):
        assert "owner" in refused(answer, 409)["message"]
    assert owner.get()["role"] == "owner"
    second = orgs.seat(owner.org, "owner")
    assert owner.ask("DELETE", me).status_code == 204
    refused(second.ask("DELETE", f"/members/{second.user.uid}"), 409)


LEAVING = {
    "each demotes themself": lambda me, _: me.ask("PATCH", f"/members/{me.user.uid}", json={"role": "member"}),
    "each demotes the other": lambda me, other: me.ask("PATCH", f"/members/{other.user.uid}", json={"role": "member"}),
    "each leaves": lambda me, _: me.ask("DELETE", f"/members/{me.user.uid}"),
    "each removes the other": lambda me, other: me.ask("DELETE", f"/members/{other.user.uid}"),
}


@pytest.mark.parametrize("way", LEAVING)
def test_of_two_owners_at_the_same_moment_one_stays(orgs: Orgs, way: str) -> None:
    """Each sees two owners; together they would leave none."""
    for number in range(ROUNDS):
        org = orgs.make(f"round-{number}")
        pair = orgs.seat(org, "owner"), orgs.seat(org, "owner")
        assert [seat.ask("GET").status_code for seat in pair] == [200, 200]
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(LEAVING[way], pair, reversed(pair)))
        done = [answer.is_success for answer in answers]
        assert sorted(done) == [False, True], [answer.text for answer in answers]
        assert {answer.status_code for answer in answers} & {403, 404, 409}
        with transaction(orgs.runtime.engine, write=False) as session:
            held = session.scalars(select(Membership.role).where(Membership.org_id == org.id)).all()
        assert held.count("owner") == 1


def test_strangers_and_the_unknown_are_no_members(orgs: Orgs, owner: Seat, refused: Refusals) -> None:
    """Nobody of another org is reached through this one."""
    stranger = orgs.seat(orgs.make("lab"), "member")
    path = f"/members/{stranger.user.uid}"
    assert refused(owner.ask("PATCH", path, json={"role": "admin"}), 404)["message"] == "Member not found"
    refused(owner.ask("DELETE", path), 404)
    refused(Seat(owner.org, stranger.user, stranger.caller).ask("GET", "/members"), 404)
    issues = refused(owner.ask("DELETE", "/members/7"), 400)["issues"]
    assert issues == [{"path": ["params", "userId"], "message": "Invalid uuid"}]
