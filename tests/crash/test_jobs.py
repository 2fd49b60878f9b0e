"""Twenty crashes of workers while bulk jobs run: every accepted job ends, once, with a result for each record."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import Engine, func, select

from app.engine import leases
from app.security.secrets import load_or_create
from app.security.tokens import DESK, sign
from app.services.bulk import COMPLETED, OPEN, TASK
from app.services.desk import furnish
from models.base import connect, now, transaction
from models.desk import BulkJob, BulkRecord, Incident
from models.engine import EngineLease, EngineTask
from models.identity import User
from models.orgs import Membership, Org
from support.servers import Server, running
from support.workers import Workers, holders, until

ROUNDS = 20
RECORDS = 20
MOST_OPEN = 6
KINDS = (TASK,)
BULK = "/prod/api/v1/incidents/bulk"
Json = dict[str, Any]


@dataclass
class Submitter:
    """Somebody who keeps a few jobs open all the time; `accepted` are those the server answered for."""

    server: Server
    token: str
    database: Engine
    accepted: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Submit whenever fewer than `MOST_OPEN` jobs are open."""
        while not self.stop.wait(0.1):
            if unfinished(self.database) < 2 * MOST_OPEN:  # a job and its task
                self.submit(RECORDS)

    def submit(self, records: int) -> None:
        """One job."""
        body = {"records": [{"short_description": f"record {n}"} for n in range(records)]}
        with suppress(requests.RequestException):
            answer = self.server.request("POST", BULK, self.token, json=body)
            if answer.status_code == 202:
                self.accepted.append(answer.json()["job_id"])


def agent(data: Path, database: Engine) -> str:
    """The token of an agent of a new tenant."""
    with transaction(database) as session:
        org, user = Org(name="Acme", slug="acme"), User(email="ada@example.com", name="Ada")
        session.add_all((org, user))
        session.flush()
        session.add(Membership(org_id=org.id, user_id=user.id, role="member", desk_role="itsm_agent"))
        furnish(org.id)
        claims = {"sub": user.uid, "email": user.email, "custom:role": "itsm_agent", "custom:tenant_id": org.uid}
    return sign(DESK, claims, load_or_create(data))


def unfinished(database: Engine) -> int:
    """How many jobs have not ended, and tasks that are not known to be over."""
    with transaction(database, write=False) as session:
        jobs = select(func.count()).select_from(BulkJob).where(BulkJob.status.in_(OPEN))
        held = EngineTask.kind == "bulk", EngineTask.state.in_(("queued", "running"))
        tasks = select(func.count()).select_from(EngineTask).where(*held)
        return (session.scalar(jobs) or 0) + (session.scalar(tasks) or 0)


@pytest.mark.crash
@pytest.mark.timeout(900)
def test_no_crash_loses_or_doubles_a_record_of_a_job(database_url: str, tmp_path: Path) -> None:
    """`kill -9` of a worker that is at work, twenty times; what was at hand goes on within thirty seconds."""
    data = tmp_path / "data"
    with running(tmp_path) as start:
        server = start(data=data, rate_limits="off", database_url=database_url, engine="off")
        database = connect(database_url or f"sqlite:///{data}/yardmaster.db")
        submitter = Submitter(server, agent(data, database), database)
        assert not holders(database, KINDS)
        workers = Workers(data, database_url, KINDS)
        thread = threading.Thread(target=submitter.run)
        thread.start()
        for _ in range(ROUNDS):
            before = written(database)
            workers.crash(database, lambda: written(database) > before)  # noqa: B023 (called in its own turn)
        submitter.stop.set()
        thread.join()
        began = time.monotonic()
        until(lambda: not unfinished(database), 120)
        until(lambda: beating(database) == 2, 30)
        print(json.dumps({"jobs": len(submitter.accepted), "ended_after_s": round(time.monotonic() - began, 1)}))  # noqa: T201
        assert workers.end() == [0, 0]
        assert server.stop() == 0
    assert "Traceback" not in workers.said()
    assert "locked" not in workers.said()
    try:
        prove(database, submitter.accepted)
    finally:
        database.dispose()


def prove(database: Engine, accepted: list[str]) -> None:
    """Each accepted job ended with all its records, and each record made one incident, whose number no other has."""
    with transaction(database, write=False) as session:
        jobs = {job.uid: job for job in session.scalars(select(BulkJob))}
        records = session.scalars(select(BulkRecord)).all()
        incidents = session.scalars(select(Incident.number)).all()
        begun_again = session.scalar(select(func.sum(EngineTask.attempts - 1)).where(EngineTask.attempts > 1)) or 0
        tasks = Counter(session.scalars(select(EngineTask.state).where(EngineTask.kind == "bulk")))
    assert len(accepted) >= ROUNDS
    assert set(accepted) <= jobs.keys()
    assert {job.status for job in jobs.values()} == {COMPLETED}
    assert Counter(record.job_id for record in records) == {job.id: RECORDS for job in jobs.values()}
    assert Counter(record.record_id for record in records) == dict.fromkeys(incidents, 1)
    assert sorted(incidents) == [f"INC{n:07d}" for n in range(1, len(jobs) * RECORDS + 1)]
    assert tasks == {"done": len(jobs)}
    assert begun_again >= ROUNDS // 4, "the crashes must hit workers at work"


@pytest.mark.crash
@pytest.mark.timeout(300)
def test_the_survivor_of_two_workers_ends_the_jobs_within_thirty_seconds(database_url: str, tmp_path: Path) -> None:
    """Whoever the dead one was: a server of its own, on the same database."""
    settings = {"data": tmp_path / "data", "rate_limits": "off", "database_url": database_url}
    with running(tmp_path) as start:
        dead, survivor = start(**settings), start(**settings)
        database = connect(database_url or f"sqlite:///{tmp_path}/data/yardmaster.db")
        submitter = Submitter(survivor, agent(tmp_path / "data", database), database)
        for _ in range(2):
            submitter.submit(100)
        until(lambda: len(holders(database, KINDS)) == 2, 30)
        dead.kill()
        began = time.monotonic()
        until(lambda: not unfinished(database), 30)
        took = time.monotonic() - began
        print(json.dumps({"taken_over_after_s": round(took, 1)}))  # noqa: T201
    with transaction(database, write=False) as session:
        assert {job.status for job in session.scalars(select(BulkJob))} == {COMPLETED}
        assert len(session.scalars(select(Incident.number)).all()) == 200
    database.dispose()


def beating(database: Engine) -> int:
    """How many workers have said within two beats that they live."""
    with transaction(database, write=False) as session:
        young = EngineLease.heartbeat > now() - timedelta(seconds=2 * leases.BEAT_S)
        return len(session.scalars(select(EngineLease.executor).where(young)).all())


def written(database: Engine) -> int:
    """How many records have a result."""
    with transaction(database, write=False) as session:
        return session.scalar(select(func.count()).select_from(BulkRecord)) or 0
