"""Who falls silent is offline, by a heartbeat's absence alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from app.engine.context import Context
from app.services import box_presence
from app.services.box_presence import Presence
from models.base import new_uid, now, transaction
from models.boxes import Box, Heartbeat
from support.accounts import People
from support.callers import Caller
from support.fleet import Fleet

pytestmark = pytest.mark.settings(engine="on")

BEAT = "/api/box/heartbeat"
Mark = Callable[[datetime], Any]


@pytest.fixture
def box(fleet: Fleet) -> Caller:
    """A box that is online."""
    caller = fleet.enrol(fleet.register()["setup"])
    assert caller.post(BEAT, json={}).status_code == 200
    return caller


@pytest.fixture
def mark(people: People) -> Mark:
    """Marks the silent as of a moment."""

    def marked(moment: datetime) -> Any:
        with transaction(people.engine):
            return list(box_presence.mark_silent(moment))

    return marked


def status(box: Caller) -> str:
    """The box's state, as it sees it itself."""
    return str(box.get("/api/box/me").json()["status"])


def test_silence_of_ninety_seconds_is_offline(box: Caller, mark: Mark, people: People) -> None:
    """Not one of eighty-nine; and whoever looks next finds nothing left to do."""
    uid = box.get("/api/box/me").json()["id"]
    with transaction(people.engine, write=False) as session:
        heard = session.scalars(select(Box.last_heartbeat_at)).one()
    assert heard is not None
    assert mark(heard + timedelta(seconds=90)) == []
    assert status(box) == "online"
    assert mark(heard + timedelta(seconds=90, microseconds=1)) == [uid]
    assert status(box) == "offline"
    assert mark(heard + timedelta(days=1)) == []


def test_a_heartbeat_brings_it_back(box: Caller, mark: Mark) -> None:
    """As often as it went."""
    mark(now() + timedelta(seconds=91))
    assert status(box) == "offline"
    box.post(BEAT, json={})
    assert status(box) == "online"


def test_a_box_that_never_spoke_stays_provisioning(fleet: Fleet, mark: Mark) -> None:
    """Who was never there cannot have gone."""
    path = fleet.box()
    assert mark(now() + timedelta(days=1)) == []
    assert fleet.owner.get(path).json()["status"] == "provisioning"


def test_a_heartbeat_while_others_mark_is_not_lost(box: Caller, mark: Mark, people: People) -> None:
    """However the two meet, a box that just spoke ends up online."""
    for _ in range(5):
        with transaction(people.engine) as session:
            session.execute(update(Box).values(status="online", last_heartbeat_at=now() - timedelta(seconds=100)))
        with ThreadPoolExecutor(4) as pool:
            marking = [pool.submit(mark, now()) for _ in range(3)]
            beaten = pool.submit(box.post, BEAT, json={})
        assert sum(len(done.result()) for done in marking) <= 1
        assert beaten.result().status_code == 200
        assert status(box) == "online"


def test_old_heartbeats_are_deleted(box: Caller, people: People) -> None:
    """A box sends a million a year; a week of them is kept."""
    moment = now()
    uid = box.get("/api/box/me").json()["id"]
    with transaction(people.engine) as session:
        box_id = session.scalars(select(Box.id).where(Box.uid == uid)).one()
        ages = [timedelta(days=7, seconds=1)] * 3 + [timedelta(days=6, hours=23)]
        session.add_all(Heartbeat(uid=new_uid(), box_id=box_id, received_at=moment - age) for age in ages)
    Presence(people.engine)(Context("presence", threading.Event(), lambda: False, lambda _, step: step()))
    with transaction(people.engine, write=False) as session:
        assert session.scalar(select(func.count()).select_from(Heartbeat)) == 2


def test_it_looks_by_itself(box: Caller, people: People) -> None:
    """Nobody asks for it: the engine of some worker does, every few seconds."""
    with transaction(people.engine) as session:
        session.execute(update(Box).values(last_heartbeat_at=now() - timedelta(seconds=100)))
    deadline = time.monotonic() + 20
    while status(box) == "online" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert status(box) == "offline"
