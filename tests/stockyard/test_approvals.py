"""Approvals as an operator gives them: who waits, one decision for each, and a trail of it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select

from app.factory import Application
from app.services.held_calls import Asked, take
from models.audit import AuditEntry
from models.base import transaction
from support.approvals import ABOUT, held_call
from support.envelopes import Refusals
from support.people import Promised

PLACE = "/api/proxy/approvals"
Hold = Callable[..., int]


@pytest.fixture
def hold(application: Application) -> Hold:
    """Puts a call among those that wait, whoever would hold it: `hold(project="shop")`; its number."""

    def add(**columns: Any) -> int:
        row = held_call(**columns)
        with transaction(application.runtime.engine) as opened:
            opened.add(row)
            opened.flush()
            return row.id

    return add


def test_whoever_waits_is_shown(admin: Any, hold: Hold, promised: Promised, refused: Refusals) -> None:
    """In the list and alone, alike; what nobody knows of a call is left out."""
    assert promised(admin.get(PLACE))["approvals"] == []
    number = hold(user_id=1, key_id=1, cost_nano=1_500_000_000, stream=True)
    [listed] = promised(admin.get(PLACE))["approvals"]
    assert promised(admin.get(f"/api/proxy/approvals/{number}")) == listed
    assert (listed["id"], listed["status"], listed["cost_usd"], listed["stream"]) == (number, "waiting", 1.5, True)
    assert listed["created_at"] == "2026-03-02T00:00:00.000Z"
    assert "@" in listed["user_email"]
    alone = promised(admin.get(f"{PLACE}/{hold()}"))
    assert not {"user_id", "user_email", "key_id", "cost_usd", "decided_by", "ended_at"} & alone.keys()
    refused(admin.get(f"{PLACE}/999"), 404, "not_found")


def test_the_newest_come_first_in_pages(admin: Any, hold: Hold, promised: Promised, refused: Refusals) -> None:
    """By cursor nothing repeats or is missed, whatever arrives meanwhile; a cursor belongs to its filter."""
    numbers = [hold(status=status) for status in ("waiting", "expired", "waiting", "waiting")]
    newest = promised(admin.get(PLACE, params={"limit": 3}))
    assert ([row["id"] for row in newest["approvals"]], newest["total"]) == (numbers[:0:-1], 4)
    waiting = {"status": "waiting", "limit": 2}
    first = promised(admin.get(PLACE, params=waiting))
    assert [row["id"] for row in first["approvals"]] == [numbers[3], numbers[2]]
    hold()
    second = promised(admin.get(PLACE, params=waiting | {"cursor": first["next_cursor"]}))
    assert ([row["id"] for row in second["approvals"]], second["has_more"]) == ([numbers[0]], False)
    refused(admin.get(PLACE, params={"cursor": first["next_cursor"]}), 400, "invalid_cursor")
    refused(admin.get(PLACE, params={"status": "lost"}), 400, "bad_request")


@pytest.mark.parametrize(("act", "status"), [("approve", "approved"), ("reject", "rejected")])
def test_a_decision_is_final(
    admin: Any, hold: Hold, promised: Promised, refused: Refusals, act: str, status: str
) -> None:
    """Whoever comes second, with whatever wish, is told what was decided; the first one's word stays."""
    number = hold()
    decided = promised(admin.post(f"{PLACE}/{number}/{act}", json={"note": "by me"}))
    assert (decided["status"], decided["note"], decided["decided_by"]) == (status, "by me", "admin")
    assert decided["ended_at"] > decided["created_at"]
    for other in ("approve", "reject"):
        body = refused(admin.post(f"{PLACE}/{number}/{other}", json={"note": "no, me"}), 409, "conflict")
        assert body["error"]["details"] == {"status": status}
    assert promised(admin.get(f"{PLACE}/{number}")) == decided


@pytest.mark.parametrize("status", ["expired", "abandoned"])
def test_nothing_is_decided_once_nobody_waits(admin: Any, hold: Hold, refused: Refusals, status: str) -> None:
    """An operator who believes a call went on, when its caller was gone, is misled."""
    number = hold(status=status)
    body = refused(admin.post(f"{PLACE}/{number}/approve"), 409, "conflict")
    assert body["error"]["details"] == {"status": status}
    refused(admin.post(f"{PLACE}/999/approve"), 404, "not_found")
    refused(admin.post(f"{PLACE}/999/reject"), 404, "not_found")


def test_of_two_operators_at_once_one_decides(admin: Any, hold: Hold, application: Application) -> None:
    """What the one was told is what the call was told."""
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            number = hold()
            acts = ["approve", "reject"] * 2
            answers = list(pool.map(lambda act, number=number: admin.post(f"{PLACE}/{number}/{act}"), acts))
            assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
            [won] = [answer.json() for answer in answers if answer.status_code == 200]
            assert admin.get(f"{PLACE}/{number}").json() == won
    assert len(entries(application)) == 5


def entries(application: Application) -> list[Any]:
    """What the audit log tells of approvals, oldest first."""
    said = select(AuditEntry).where(AuditEntry.action.startswith("approval.")).order_by(AuditEntry.id)
    with transaction(application.runtime.engine, write=False) as opened:
        return list(opened.scalars(said))


def test_the_audit_log_tells_who_decided(admin: Any, hold: Hold, application: Application) -> None:
    """And nothing of a decision that was none."""
    number, other = hold(project="shop"), hold()
    admin.post(f"/api/proxy/approvals/{number}/approve")
    admin.post(f"/api/proxy/approvals/{number}/reject")
    admin.post(f"/api/proxy/approvals/{other}/reject", json={"note": "no"})
    told = [(entry.action, entry.resource_type, entry.resource_id, entry.details) for entry in entries(application)]
    assert told == [
        ("approval.approve", "approval", str(number), {"project": "shop", "model": "gpt-4o"}),
        ("approval.reject", "approval", str(other), {"project": "default", "model": "gpt-4o"}),
    ]


def test_approvals_are_for_operators(user: Any, anonymous: Any, hold: Hold, refused: Refusals) -> None:
    """Nobody approves their own calls, or reads another's."""
    number = hold(user_id=1)
    for path in (PLACE, f"{PLACE}/{number}"):
        refused(user.get(path), 403, "forbidden")
        refused(anonymous.get(path), 401, "unauthorized")
    for act in ("approve", "reject"):
        refused(user.post(f"{PLACE}/{number}/{act}"), 403, "forbidden")
        refused(anonymous.post(f"{PLACE}/{number}/{act}"), 401, "unauthorized")


def test_a_note_is_bounded(admin: Any, hold: Hold, refused: Refusals) -> None:
    """What cannot be stored decides nothing."""
    number = hold()
    for note in ("x" * 501, "a\0b", 7):
        refused(admin.post(f"{PLACE}/{number}/approve", json={"note": note}), 400, "bad_request")
    assert admin.post(f"{PLACE}/{number}/approve", json={"note": "x" * 500}).json()["note"] == "x" * 500


def test_of_many_calls_at_once_no_more_wait_than_there_is_room_for(application: Application) -> None:
    """Whichever workers they come to."""
    engine = application.runtime.engine
    asked = [Asked(f"{number:064}", {**ABOUT, "user_id": None, "cost_nano": None}, 60.0, 0.0) for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda one: take(engine, one, 5), asked))
    assert sum(fate is not None for fate in taken) == 5
