"""The leases of bulk jobs: one holder at a time, and none that works on after it lost its own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from app.problems import Problem
from app.services import bulk
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


def submit(engine: Engine, actor: Actor, records: int = 2) -> None:
    """A job of so many records."""
    with transaction(engine):
        bulk.accept(actor, "incidents", [{"n": n} for n in range(records)])


def claim(engine: Engine, owner: str) -> bulk.Lease | None:
    """A lease for this owner, when there is one to be had."""
    with transaction(engine):
        return bulk.claim(owner)


def lapse(engine: Engine) -> None:
    """Let every lease run out."""
    with transaction(engine) as session:
        session.execute(update(BulkJob).values(lease_until=now() - timedelta(seconds=1)))


def carried(_: Actor, record: dict[str, Any]) -> tuple[str, str]:
    """Carry a record out."""
    return "created", f"INC{record['n']:07d}"


def statuses(engine: Engine) -> list[str | None]:
    """What became of each record so far."""
    with transaction(engine, write=False) as session:
        return list(session.scalars(select(BulkRecord.status).order_by(BulkRecord.job_id, BulkRecord.position)))


def test_parallel_claims_never_share_a_job(engine: Engine, actor: Actor) -> None:
    """Two workers on one job would carry its records out twice."""
    for _ in range(3):
        submit(engine, actor)
    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(lambda n: claim(engine, f"worker {n}"), range(8)))
    held = [lease.job_id for lease in leases if lease]
    assert len(held) == len(set(held)) == 3
    assert claim(engine, "late") is None


def test_a_lease_is_taken_over_only_once_it_has_run_out(engine: Engine, actor: Actor) -> None:
    """And well within thirty seconds of the holder's death."""
    submit(engine, actor)
    assert claim(engine, "first")
    assert claim(engine, "second") is None
    assert timedelta(seconds=30) > bulk.LEASE
    lapse(engine)
    taken = claim(engine, "second")
    assert taken
    assert taken.owner == "second"


def test_who_lost_the_lease_works_no_more(engine: Engine, actor: Actor) -> None:
    """A worker that was only slow wakes up beside the one that took over."""
    submit(engine, actor)
    slow = claim(engine, "slow")
    lapse(engine)
    quick = claim(engine, "quick")
    assert slow
    assert quick
    with transaction(engine):
        assert not bulk.carry_out_next(slow, carried)
        bulk.fail_next(slow, Problem(500, "x"))
        bulk.release(slow)
    assert statuses(engine) == [None, None]
    assert claim(engine, "third") is None
    while True:
        with transaction(engine):
            if not bulk.carry_out_next(quick, carried):
                break
    assert statuses(engine) == ["created", "created"]


def test_a_record_and_its_mark_are_one_transaction(engine: Engine, actor: Actor) -> None:
    """A death between doing and marking undoes the doing."""
    submit(engine, actor, records=1)
    lease = claim(engine, "worker")
    assert lease

    def die() -> None:
        with transaction(engine):
            bulk.carry_out_next(lease, carried)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die()
    assert statuses(engine) == [None]


def test_a_refused_record_undoes_what_it_began(engine: Engine, actor: Actor) -> None:
    """Each record is all or nothing, and the next one goes on."""
    submit(engine, actor)
    lease = claim(engine, "worker")
    assert lease

    def half(actor: Actor, record: dict[str, Any]) -> tuple[str, str]:
        if record["n"] == 0:
            submit_nested(actor)
            raise Problem(422, "No")
        return carried(actor, record)

    def submit_nested(actor: Actor) -> None:
        bulk.accept(actor, "begun", [{}])

    for _ in range(2):
        with transaction(engine):
            assert bulk.carry_out_next(lease, half)
    assert statuses(engine) == ["failed", "created"]


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
