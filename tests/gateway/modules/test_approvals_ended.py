"""Calls that wait for a person, and what ends the wait beside a decision."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import delete

from app.engine import Context
from app.services.approvals import Lapse, Sweep
from gateway.lane.conftest import Ask, chat
from gateway.modules.conftest import MODEL
from gateway.modules.test_approvalgate import ONE, RISKY, change, desk, gate, rejected
from gateway.upstream import Upstream
from models.base import now, transaction
from models.identity import User
from stockyard.conftest import ada
from support.approvals import Desk
from support.callers import Client
from support.envelopes import Refusals
from support.people import Person

__all__ = ["ada", "desk", "gate"]


def turn(client: Client, carry: Any) -> None:
    """One turn of the engine's."""
    carry(client.application.runtime.engine)(Context("turn", lambda: False, lambda: False, lambda _, step: step()))


def test_what_a_dead_worker_held_is_given_up(
    gate: Callable[..., None], desk: Desk, ask: Ask, client: Client, refused: Refusals
) -> None:
    """Nobody can approve it even before, and no entry waits for ever."""
    gate()
    rejected(desk, ask, MODEL, RISKY)
    change(client, status="waiting", alive_until=now() - timedelta(seconds=1), ended_at=None)
    [held] = desk.waiting()
    body = refused(desk.decide(held["id"], "approve"), 409, "conflict")
    assert body["error"]["details"]["status"] == "abandoned"
    turn(client, Lapse)
    [held] = desk.ended("abandoned")
    assert held["ended_at"]


def test_a_worker_that_only_stood_still_gets_its_call_back(
    gate: Callable[..., None], desk: Desk, ask: Ask, client: Client
) -> None:
    """A clock that jumped, or a machine that slept, must not lose a caller who still waits."""
    gate()
    asked = desk.begin(ask, MODEL, RISKY)
    desk.waiting()
    change(client, alive_until=now() - timedelta(seconds=1))
    turn(client, Lapse)
    desk.ended("abandoned")
    [held] = desk.waiting()
    desk.decide(held["id"], "approve")
    assert asked.result(10).status_code == 200


def test_an_erased_users_call_does_not_go_on(
    gate: Callable[..., None], desk: Desk, client: Client, ada: Person, refused: Refusals, upstream: Upstream
) -> None:
    """Its entry goes with the account."""
    gate()
    asked = desk.begin(ada.caller.post, "/v1/chat/completions", json=chat(MODEL, RISKY))
    [held] = desk.waiting()
    assert held["user_email"] == "ada@example.com"
    with transaction(client.application.runtime.engine) as opened:
        opened.execute(delete(User).where(User.id == ada.id))
    refused(asked.result(10), 403, "forbidden")
    assert desk.listed() == []
    assert upstream.seen(MODEL) == []


@ONE
def test_a_database_that_is_away_lets_no_call_pass(
    gate: Callable[..., None], desk: Desk, ask: Ask, client: Client, refused: Refusals, upstream: Upstream
) -> None:
    """Nobody could have approved it."""
    gate(on_timeout="pass")
    engine = client.application.runtime.engine
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE held_calls RENAME TO away")
    answer = ask(MODEL, RISKY)
    assert refused(answer, 503, "unavailable")["error"]["details"] == {"reason": "approvalgate"}
    assert answer.headers["retry-after"] == "1"
    assert upstream.seen(MODEL) == []
    assert desk.counted() == {"unasked": 1}


def test_what_is_over_goes_with_age(gate: Callable[..., None], desk: Desk, ask: Ask, client: Client) -> None:
    """As traces do, and the oldest of too many; what waits stays."""
    gate()
    for number in range(3):
        rejected(desk, ask, MODEL, f"{RISKY} {number}")
    asked = desk.begin(ask, MODEL, RISKY)
    [held] = desk.waiting()
    turn(client, lambda engine: Sweep(engine, lambda: 30, most=2))
    assert [row["id"] for row in desk.listed()] == [held["id"], held["id"] - 1]
    change(client, created_at=now() - timedelta(days=31))
    turn(client, lambda engine: Sweep(engine, lambda: 0))
    assert len(desk.listed()) == 2
    turn(client, lambda engine: Sweep(engine, lambda: 30))
    assert [row["id"] for row in desk.listed()] == [held["id"]]
    desk.decide(held["id"], "approve")
    assert asked.result(10).status_code == 200
