"""Having a box to oneself (`get_box_lock`, `lock_box`, `unlock_box`)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import update

from models.base import now, transaction
from models.boxes import Box
from support.accounts import People
from support.callers import Caller
from support.envelopes import Refusals
from support.fleet import Fleet

FREE = {"locked": False}


@pytest.fixture
def box(fleet: Fleet) -> str:
    """The path of a box."""
    return fleet.box()


@pytest.fixture
def admin(fleet: Fleet) -> Caller:
    """Another who may use every box."""
    return fleet.join("eve@acme.example", "admin")


def let_it_end(people: People) -> None:
    """As if the time of every lock were over."""
    with transaction(people.engine) as session:
        session.execute(update(Box).values(lock_expires_at=now() - timedelta(seconds=1)))


def test_a_free_box_is_locked_and_given_back(fleet: Fleet, box: str) -> None:
    """Who holds it is told to whoever may use it, with the box itself too."""
    assert fleet.owner.get(f"{box}/lock").json() == FREE
    held = fleet.owner.post(f"{box}/lock", json={"ttlSeconds": 60, "reason": "Measuring"}).json()
    email = "owner@acme.example"
    assert held["user"] == f"stout:{fleet.ids[email]}:{email}"
    assert (held["locked"], held["holderType"], held["reason"], held["ttlSeconds"]) == (True, "stout", "Measuring", 60)
    assert held["lockedAt"] == held["lastHeartbeat"]
    assert fleet.owner.get(f"{box}/lock").json() == held == fleet.owner.get(box).json()["lock"]
    assert fleet.owner.post(f"{box}/unlock").json() == FREE
    assert fleet.owner.post(f"{box}/unlock", json={}).json() == FREE
    assert fleet.owner.get(f"{box}/lock").json() == FREE


def test_a_lock_without_a_time_does_not_end(fleet: Fleet, box: str) -> None:
    """No body, an empty one and null say the same."""
    for asked in ({}, {"json": {}}, {"json": {"ttlSeconds": None}}):
        held = fleet.owner.post(f"{box}/lock", **asked).json()
        assert held["locked"] is True
        assert "ttlSeconds" not in held


def test_its_holder_renews_a_lock(fleet: Fleet, box: str) -> None:
    """It goes on from when it was taken, for another time from now."""
    first = fleet.owner.post(f"{box}/lock", json={"ttlSeconds": 60}).json()
    second = fleet.owner.post(f"{box}/lock", json={"ttlSeconds": 120}).json()
    assert second["lockedAt"] == first["lockedAt"]
    assert second["lastHeartbeat"] > first["lastHeartbeat"]
    assert second["ttlSeconds"] == 120


def test_anothers_lock_is_in_the_way(fleet: Fleet, box: str, admin: Caller, refused: Refusals) -> None:
    """The refusal says whose it is, so that one can ask them."""
    held = fleet.owner.post(f"{box}/lock").json()
    assert refused(admin.post(f"{box}/lock"), 409)["lock"] == held
    assert refused(admin.post(f"{box}/unlock"), 403)["lock"] == held
    assert fleet.owner.get(f"{box}/lock").json() == held


def test_a_manager_may_insist(fleet: Fleet, box: str, admin: Caller, refused: Refusals) -> None:
    """`force` ends another's lock, but not in a member's hands."""
    fleet.owner.post(f"{box}/lock")
    member = fleet.join("bob@acme.example")
    fleet.owner.post(f"{box}/access", json={"userId": fleet.ids["bob@acme.example"]})
    refused(member.post(f"{box}/unlock", json={"force": True}), 403)
    assert admin.post(f"{box}/unlock", json={"force": True}).json() == FREE
    assert member.post(f"{box}/lock").status_code == 200


def test_a_lock_ends_with_its_time(fleet: Fleet, box: str, people: People, admin: Caller) -> None:
    """Its holder may have gone home; the next one starts afresh."""
    first = fleet.owner.post(f"{box}/lock", json={"ttlSeconds": 60}).json()
    let_it_end(people)
    assert fleet.owner.get(f"{box}/lock").json() == FREE == fleet.owner.get(box).json()["lock"]
    second = admin.post(f"{box}/lock").json()
    assert second["user"] != first["user"]
    assert second["lockedAt"] > first["lockedAt"]


def test_an_ended_lock_is_taken_anew_by_who_had_it(fleet: Fleet, box: str, people: People) -> None:
    """What was over does not go on."""
    first = fleet.owner.post(f"{box}/lock", json={"ttlSeconds": 60}).json()
    let_it_end(people)
    assert fleet.owner.post(f"{box}/lock").json()["lockedAt"] > first["lockedAt"]


def test_of_many_at_once_one_gets_it(fleet: Fleet, box: str) -> None:
    """The others are told who was first."""
    callers = [fleet.join(f"admin{number}@acme.example", "admin") for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda caller: caller.post(f"{box}/lock"), callers))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409, 409]
    [held] = [answer.json() for answer in answers if answer.status_code == 200]
    assert all(answer.json()["lock"] == held for answer in answers if answer.status_code == 409)


def test_a_lock_takes_access(fleet: Fleet, box: str, refused: Refusals) -> None:
    """A member without a grant neither sees, takes nor ends it."""
    member = fleet.join("bob@acme.example")
    refused(member.get(f"{box}/lock"), 403)
    refused(member.post(f"{box}/lock"), 403)
    refused(member.post(f"{box}/unlock"), 403)


@pytest.mark.parametrize("ttl", [0, -1, 1.5, "60", 2_592_001])
def test_a_time_is_whole_seconds_from_one(fleet: Fleet, box: str, refused: Refusals, ttl: object) -> None:
    """A lock that is over at once would look like one."""
    issue = refused(fleet.owner.post(f"{box}/lock", json={"ttlSeconds": ttl}), 400)["issues"][0]
    assert issue["path"] == ["body", "ttlSeconds"]


def test_the_boxs_own_lock_is_shown_and_respected(fleet: Fleet, refused: Refusals) -> None:
    """Whoever works at the bench holds the box as much as whoever took it here; the box says when they are done."""
    made = fleet.register()
    path, box = f"{fleet.path}/boxes/{made['box']['id']}", fleet.enrol(made["setup"])
    beat = {"lock": {"locked": True, "user": "ada", "holderType": "ci", "ttlSeconds": 1800}}
    assert box.post("/api/box/heartbeat", json=beat).status_code == 200
    held = fleet.owner.get(f"{path}/lock").json()
    assert (held["user"], held["holderType"], held["ttlSeconds"]) == ("ada", "ci", 1800)
    assert refused(fleet.owner.post(f"{path}/lock"), 409)["lock"] == held
    box.post("/api/box/heartbeat", json={})
    assert fleet.owner.get(f"{path}/lock").json() == held
    box.post("/api/box/heartbeat", json={"lock": {"locked": False}})
    assert fleet.owner.get(f"{path}/lock").json() == FREE


def test_a_box_neither_ends_nor_makes_a_lock_of_this_server(fleet: Fleet) -> None:
    """What was taken here stands until it is given back here."""
    made = fleet.register()
    path, box = f"{fleet.path}/boxes/{made['box']['id']}", fleet.enrol(made["setup"])
    forged = {"locked": True, "user": "stout:somebody:x@example.com", "holderType": "user"}
    box.post("/api/box/heartbeat", json={"lock": forged})
    assert fleet.owner.get(f"{path}/lock").json() == FREE
    held = fleet.owner.post(f"{path}/lock").json()
    for told in ({"locked": False}, {"locked": True, "user": "ada"}, forged):
        box.post("/api/box/heartbeat", json={"lock": told})
        assert fleet.owner.get(f"{path}/lock").json() == held
