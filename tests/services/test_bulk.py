"""Bulk jobs: each record once, whoever else is at the job, and whatever a record does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.engine import Context
from app.problems import Problem
from app.services import bulk
from app.services.bulk_run import BulkRun
from app.services.desk import Actor
from app.settings import Settings
from models.base import connect, now, transaction
from models.desk import BulkJob, BulkRecord
from models.identity import User
from models.orgs import Org


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """A database that no server works on."""
    opened = connect(settings.database)
    yield opened
    opened.dispose()


@pytest.fixture
def actor(engine: Engine) -> Actor:
    """Somebody who submits jobs."""
    with transaction(engine) as session:
        org, user = Org(name="Acme", slug="acme"), User(email="ada@example.com", name="Ada")
        session.add_all((org, user))
        session.flush()
        return Actor(org.id, user.id, user.email)


def submit(engine: Engine, actor: Actor, records: int = 2) -> str:
    """A job of so many records."""
    with transaction(engine):
        return bulk.accept(actor, "incidents", [{"n": n} for n in range(records)]).uid


def carry_out(engine: Engine, uid: str, carry: bulk.Carry) -> None:
    """Carry a job out, to its end."""
    while True:
        with transaction(engine):
            if not bulk.carry_out_next(uid, {"incidents": carry}):
                return


def ended(engine: Engine, uid: str) -> str:
    """How a job ended."""
    with transaction(engine, write=False) as session:
        job = session.scalars(select(BulkJob).where(BulkJob.uid == uid)).one()
        assert job.completed_at
        return job.status


def carried(_: Actor, record: dict[str, Any]) -> tuple[str, str]:
    """Carry a record out."""
    return "created", f"INC{record['n']:07d}"


def statuses(engine: Engine) -> list[str | None]:
    """What became of each record so far."""
    with transaction(engine, write=False) as session:
        return list(session.scalars(select(BulkRecord.status).order_by(BulkRecord.job_id, BulkRecord.position)))


def test_two_at_one_job_share_its_records(engine: Engine, actor: Actor) -> None:
    """A worker that was only slow wakes up beside the one that took over: each record is carried out once."""
    uid = submit(engine, actor, records=40)
    numbers: list[int] = []

    def noted(actor: Actor, record: dict[str, Any]) -> tuple[str, str]:
        numbers.append(record["n"])
        return carried(actor, record)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: carry_out(engine, uid, noted), range(4)))
    assert sorted(numbers) == list(range(40))
    assert ended(engine, uid) == "completed"


def test_a_record_and_its_mark_are_one_transaction(engine: Engine, actor: Actor) -> None:
    """A death between doing and marking undoes the doing."""
    uid = submit(engine, actor, records=1)

    def die() -> None:
        with transaction(engine):
            bulk.carry_out_next(uid, {"incidents": carried})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die()
    assert statuses(engine) == [None]


def test_a_refused_record_undoes_what_it_began(engine: Engine, actor: Actor) -> None:
    """Each record is all or nothing, and the next one goes on."""
    uid = submit(engine, actor)

    def half(actor: Actor, record: dict[str, Any]) -> tuple[str, str]:
        if record["n"] == 0:
            bulk.accept(actor, "begun", [{}])
            raise Problem(422, "No")
        return carried(actor, record)

    carry_out(engine, uid, half)
    assert statuses(engine) == ["failed", "created"]
    assert ended(engine, uid) == "completed_with_errors"


def test_a_record_that_breaks_the_server_ends_no_job(engine: Engine, actor: Actor) -> None:
    """It has failed, the rest goes on; only a database that is away is waited for."""
    uid = submit(engine, actor, records=3)

    def broken(actor: Actor, record: dict[str, Any]) -> tuple[str, str]:
        return carried(actor, record) if record["n"] else ("created", 1 // record["n"])  # type: ignore[return-value]

    context = Context(uid, threading.Event(), lambda: False, lambda _, step: step())
    BulkRun(engine, {"incidents": broken})(uid, context)
    assert statuses(engine) == ["failed", "created", "created"]
    assert ended(engine, uid) == "completed_with_errors"


def test_what_ended_a_day_ago_is_swept_away(engine: Engine, actor: Actor) -> None:
    """Jobs that run, or ended today, stay."""
    for _ in range(3):
        submit(engine, actor, records=1)
    with transaction(engine) as session:
        ends = [now() - timedelta(hours=25), now() - timedelta(hours=23), None]
        for job, end in zip(session.scalars(select(BulkJob).order_by(BulkJob.id)), ends, strict=True):
            job.completed_at = end
    with transaction(engine):
        bulk.sweep()
    assert len(statuses(engine)) == 2
