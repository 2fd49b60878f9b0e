"""Bulk jobs: accepted whole, carried out record by record, each once, whatever happens to the server."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import requests
from sqlalchemy import func, select, update

from app.engine import leases
from app.security.secrets import load_or_create
from app.security.tokens import DESK, sign
from app.services.desk import furnish
from app.settings import Settings
from conftest import Serve
from models.base import connect, now, transaction
from models.desk import BulkJob, BulkRecord, Incident
from models.engine import EngineLease, EngineTask
from models.identity import User
from models.orgs import Membership, Org
from support.desk import V1, Desk, Person
from support.envelopes import Refusals

pytestmark = pytest.mark.settings(engine="on")

BULK = "/incidents/bulk"
Json = dict[str, Any]


def test_records_are_created_changed_and_refused_each_for_itself(agent: Person) -> None:
    """One that is refused says why, in the words of a single call, and stops no other."""
    known = agent.open()["id"]
    job = agent.bulk(
        {"short_description": "new one", "impact": "high"},
        {"id": known, "urgency": "high"},
        {"id": known, "state": "closed"},
        {"short_description": ""},
        {"id": "INC0000099", "impact": "low"},
        {"id": 7, "impact": "low"},
    )
    told = agent.ended(job)
    assert (told["status"], told["total"], told["processed"]) == ("completed_with_errors", 6, 6)
    assert (told["succeeded"], told["failed"], told["type"]) == (2, 4, "incidents")
    assert [result["index"] for result in told["results"]] == list(range(6))
    assert told["results"][0] == {"index": 0, "status": "created", "id": "INC0000002"}
    assert told["results"][1] == {"index": 1, "status": "updated", "id": known}
    codes = [result["error"]["code"] for result in told["results"][2:]]
    assert codes == ["INVALID_STATE_TRANSITION", "VALIDATION_ERROR", "NOT_FOUND", "VALIDATION_ERROR"]
    assert told["results"][3]["error"]["details"][0]["field"] == "short_description"
    assert agent.get(f"/incidents/{known}")["priority"] == "P2"


@pytest.mark.parametrize(("good", "status"), [(2, "completed"), (0, "failed")])
def test_the_end_of_a_job_says_how_it_went(agent: Person, good: int, status: str) -> None:
    """All went well, or nothing did."""
    records = [{"short_description": "x"}] * good or [{"color": "red"}]
    assert agent.ended(agent.bulk(*records))["status"] == status


def test_a_job_is_told_where_it_can_be_watched(agent: Person) -> None:
    """Accepted means stored: the answer's address works at once."""
    answer = agent.call("POST", BULK, json={"records": [{"short_description": "x"}]})
    body = answer.json()
    assert (answer.status_code, body["status"], body["total"]) == (202, "queued", 1)
    assert answer.headers["location"] == body["status_url"] == f"{V1}/bulk/jobs/{body['job_id']}"
    assert agent.caller.get(body["status_url"]).json()["job_id"] == body["job_id"]


@pytest.mark.parametrize("count", [0, 101])
def test_a_request_holds_one_to_a_hundred_records(agent: Person, refused: Refusals, count: int) -> None:
    """The limit has its own code, for clients that split by it."""
    answer = agent.call("POST", BULK, json={"records": [{"short_description": "x"}] * count})
    assert refused(answer, 400)["code"] == "BULK_LIMIT_EXCEEDED"
    assert refused(agent.call("POST", BULK, json={"records": ["x"]}), 400)["code"] == "VALIDATION_ERROR"


def test_a_record_too_deep_to_be_stored_is_refused_at_once(agent: Person, refused: Refusals) -> None:
    """The reader goes deeper than the writer."""
    deep = '{"records":[{"x":' + "[" * 400 + "]" * 400 + "}]}"
    headers = {"content-type": "application/json"}
    refused(agent.call("POST", BULK, content=deep, headers=headers), 400)


def test_a_job_is_its_submitters_business(desk: Desk, tenant: Org, agent: Person, refused: Refusals) -> None:
    """And a super admin's; to others, in the tenant or out of it, it is not there."""
    job = agent.bulk({"short_description": "x"})
    agent.ended(job)
    assert desk.person(tenant, "super_admin").get(f"/bulk/jobs/{job}")["job_id"] == job
    for other in (desk.person(tenant, "itsm_manager"), desk.person(desk.tenant("other"), "super_admin")):
        refused(other.call("GET", f"/bulk/jobs/{job}"), 404, "not_found")
    refused(desk.person(tenant, "viewer").call("POST", BULK, json={"records": [{}]}), 403, "forbidden")


@pytest.mark.settings(rate_limits="on")
def test_bulk_is_not_counted_against_the_limit(agent: Person) -> None:
    """A hundred records are one request that nobody should fear to send."""
    answers = [agent.call("POST", BULK, json={"records": [{"short_description": "x"}]}) for _ in range(3)]
    assert {answer.headers["x-ratelimit-remaining"] for answer in answers} == {"100"}


def test_a_dead_workers_job_is_taken_over_where_it_stopped(desk: Desk, agent: Person) -> None:
    """Once its lease has run out, and not before; the record that was done is not done again."""
    done = agent.open()["id"]
    with transaction(desk.runtime.engine) as session:
        job = BulkJob(org_id=agent.org_id, user_id=agent.user_id, email=agent.email, kind="incidents", total=2)
        job.status = "processing"
        session.add(job)
        session.add(EngineLease(executor="dead", heartbeat=now() - leases.DEAD + timedelta(seconds=3)))
        session.flush()
        payload = '{"short_description": "x"}'
        session.add(BulkRecord(job_id=job.id, position=0, payload=payload, status="created", record_id=done))
        session.add(BulkRecord(job_id=job.id, position=1, payload=payload))
        session.add(EngineTask(kind="bulk", key=job.uid, state="running", executor="dead", attempts=1))
    time.sleep(1)
    assert agent.get(f"/bulk/jobs/{job.uid}")["processed"] == 1
    told = agent.ended(job.uid)
    assert [result["id"] for result in told["results"]] == [done, "INC0000002"]
    assert agent.get("/incidents")["total"] == 2


def test_a_job_is_kept_for_a_day_after_its_end(desk: Desk, agent: Person, refused: Refusals) -> None:
    """Long enough to be read, then gone."""
    job = agent.bulk({"short_description": "x"})
    agent.ended(job)
    with transaction(desk.runtime.engine) as session:
        session.execute(update(BulkJob).values(completed_at=now() - timedelta(hours=25)))
    refused(agent.call("GET", f"/bulk/jobs/{job}"), 404, "not_found")


def tokens_in(settings: Settings) -> str:
    """The token of an agent of a new tenant in a database that no server runs on yet."""
    secrets, engine = load_or_create(settings.data), connect(settings.database)
    with transaction(engine) as session:
        org, user = Org(name="Acme", slug="acme"), User(email="ada@example.com", name="Ada")
        session.add_all((org, user))
        session.flush()
        session.add(Membership(org_id=org.id, user_id=user.id, role="member", desk_role="itsm_agent"))
        furnish(org.id)
        claims = {"sub": user.uid, "email": user.email, "custom:role": "itsm_agent", "custom:tenant_id": org.uid}
    engine.dispose()
    return sign(DESK, claims, secrets)


def test_accepted_jobs_survive_the_death_of_the_server(settings: Settings, serve: Serve) -> None:
    """Killed in the middle, twice: every accepted record is carried out once, none is lost, no number is missing."""
    token = tokens_in(settings)
    options = {"data": settings.data, "database_url": settings.database_url, "rate_limits": "off"}
    body = {"records": [{"short_description": f"record {n}"} for n in range(100)]}
    jobs: list[str] = []
    for _ in range(2):
        server = serve(**options)
        for _ in range(3):
            answer = server.request("POST", V1 + BULK, token, json=body)
            jobs.append(answer.json()["job_id"])
        watch(server.base_url, token, jobs[-3], lambda job: job["processed"] > 0)
        server.kill()
    server = serve(**options)
    told = [watch(server.base_url, token, job, lambda job: job["completed_at"]) for job in jobs]
    assert {job["status"] for job in told} == {"completed"}
    numbers = [result["id"] for job in told for result in job["results"]]
    assert sorted(numbers) == [f"INC{n:07d}" for n in range(1, 601)]
    engine = connect(settings.database)
    with transaction(engine, write=False) as session:
        assert session.scalar(select(func.count()).select_from(Incident)) == 600
    engine.dispose()


def test_no_request_waits_for_bulk_jobs(settings: Settings, serve: Serve) -> None:
    """They count with the same counter of numbers, but never hold it for longer than a record takes."""
    token = tokens_in(settings)
    options = {"data": settings.data, "database_url": settings.database_url, "rate_limits": "off"}
    server = serve(**options)
    body = {"records": [{"short_description": f"record {n}"} if n % 3 else {"wrong": n} for n in range(100)]}
    jobs = [server.request("POST", V1 + BULK, token, json=body).json()["job_id"] for _ in range(5)]

    def create(number: int) -> float:
        began = time.monotonic()
        answer = server.request("POST", V1 + "/incidents", token, json={"short_description": f"call {number}"})
        assert answer.status_code == 201
        return time.monotonic() - began

    with ThreadPoolExecutor(4) as pool:
        slowest = max(pool.map(create, range(100)))
    assert slowest < 5, f"one took {slowest:.1f} s"
    ended = [watch(server.base_url, token, job, lambda job: job["completed_at"]) for job in jobs]
    assert {job["status"] for job in ended} == {"completed_with_errors"}


def watch(base: str, token: str, job: str, until: Callable[[Json], object]) -> Json:
    """A job of a running server, once it is so far."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        headers = {"Authorization": f"Bearer {token}"}
        told: Json = requests.get(f"{base}{V1}/bulk/jobs/{job}", headers=headers, timeout=10).json()
        if until(told):
            return told
        time.sleep(0.02)
    raise AssertionError(f"job {job} is no further: {told}")
