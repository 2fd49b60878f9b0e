"""Prompts on a schedule: whose call each firing is, when it is due, that it is made once, and what is told of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from app import runtime
from app.engine import Context, Stopping
from app.gateway.modules.timetables import next_after
from app.services.cron.firing import Firing
from app.services.cron.planning import NAME, Turn, firing, key_of
from gateway.modules.conftest import MODEL
from gateway.upstream import Upstream
from models.base import now, transaction
from models.cron import CronJob
from models.engine import EngineTask
from models.gateway import ModuleState
from models.identity import User
from models.webhooks import WebhookMessage
from stockyard.conftest import ada
from support.callers import Client
from support.people import Person
from support.together import at_once

__all__ = ["ada"]

pytestmark = pytest.mark.settings(outbound_allow="127.0.0.1")
SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Json = dict[str, Any]
Configure = Callable[..., None]
Traces = Callable[..., list[Json]]
SETTINGS = f"/api/proxy/modules/{NAME}"
JOB: Json = {"name": "report", "schedule": "0 9 * * *", "model": MODEL, "prompt": "How was the day?", "user": 1}


class Clockwork:
    """The engine's part, done by hand: what it would call, and when the test says so."""

    def __init__(self, client: Client) -> None:
        self._runtime, self._engine = client.application.runtime, client.application.runtime.engine
        hook = {"url": "http://127.0.0.1:9/hook", "events": ["cron.*"]}
        assert client.admin.post("/api/webhooks", json=hook).status_code == 201
        self.stopping = threading.Event()

    def plan(self) -> list[str]:
        """A turn; the tasks that are planned by then."""
        Turn(self._engine)(self.context())
        return self.planned()

    def planned(self) -> list[str]:
        """The tasks, in the order they were put in."""
        with transaction(self._engine, write=False) as session:
            return list(session.scalars(select(EngineTask.key).where(EngineTask.kind == NAME).order_by(EngineTask.id)))

    def fire(self, key: str, context: Context | None = None) -> None:
        """Carry a task out, as if its time had come."""
        runtime.enter(self._runtime)
        Firing(self._engine)(key, context or self.context())

    def context(self, record: Callable[[str, Callable[[], Any]], Any] = lambda _, step: step()) -> Context:
        """What a task is given."""
        return Context(NAME, self.stopping, lambda: False, record)

    def row(self) -> CronJob:
        """The only job."""
        with transaction(self._engine, write=False) as session:
            return session.scalars(select(CronJob)).one()

    def change(self, model: Any, **values: Any) -> None:
        """Change every row of a table."""
        with transaction(self._engine) as session:
            session.execute(update(model).values(values))

    def told(self) -> list[Json]:
        """The events, type and data."""
        with transaction(self._engine, write=False) as session:
            rows = session.scalars(select(WebhookMessage).order_by(WebhookMessage.id)).all()
            return [json.loads(row.body)["data"] | {"type": row.event_type} for row in rows]


@pytest.fixture
def clockwork(client: Client) -> Clockwork:
    """The engine, by hand."""
    return Clockwork(client)


@pytest.fixture
def jobs(configure: Configure) -> Callable[..., None]:
    """`jobs(JOB, …)`: what is asked from now on, and when."""

    def store(*wanted: Json, enabled: bool = True) -> None:
        configure(NAME, enabled=enabled, jobs=list(wanted))

    return store


Jobs = Callable[..., None]


def stats(client: Client) -> Json:
    """What the module counted."""
    return dict(client.admin.get(SETTINGS).json()["stats"])


def test_a_firing_is_a_call_of_the_user_it_is_charged_to(
    clockwork: Clockwork, jobs: Jobs, upstream: Upstream, traces: Traces, client: Client, ada: Person
) -> None:
    """Traced, priced and tagged like any call of theirs; the event leads to it and holds no word of it."""
    rule = {"role": "system", "content": "Be brief."}
    upstream.script(MODEL, {"text": "All quiet."})
    jobs(JOB | {"user": ada.id, "project": "ops", "max_tokens": 9, "messages": [rule]})
    [key] = clockwork.plan()
    clockwork.fire(key)
    [seen] = upstream.seen(MODEL)
    assert seen["body"]["messages"] == [rule, {"role": "user", "content": "How was the day?"}]
    assert seen["body"]["max_tokens"] == 9
    [trace] = traces(1)
    assert (trace["user_id"], trace["project"], trace["tags"]) == (ada.id, "ops", {"cronllm": "report"})
    [event] = clockwork.told()
    assert event["cost_usd"] == trace["cost_nano"] / 1e9 > 0
    assert {
        "type": "cron.completed",
        "job": "report",
        "status": "completed",
        "user_id": ada.id,
    }.items() <= event.items()
    assert (event["trace_id"], "All quiet" in json.dumps(event)) == (trace["id"], False)
    assert client.user.get(f"/api/traces/{trace['id']}").status_code == 404
    assert (stats(client)["completed"], stats(client)["jobs"]) == (1, 1)


@SQLITE
def test_the_answer_goes_with_the_event_where_its_operator_says_so(
    clockwork: Clockwork, jobs: Jobs, upstream: Upstream
) -> None:
    """Its beginning, so that a chat room can show it."""
    upstream.script(MODEL, {"text": "All quiet. " * 1000})
    jobs(JOB | {"announce_answer": True})
    clockwork.fire(clockwork.plan()[0])
    [event] = clockwork.told()
    assert (event["answer"][:10], len(event["answer"])) == ("All quiet.", 4000)


@SQLITE
def test_a_job_may_ask_a_workflow(
    clockwork: Clockwork, jobs: Jobs, configure: Configure, upstream: Upstream, traces: Traces
) -> None:
    """It is a call like any other: what a model's name means, it means here."""
    steps = [{"name": name, "model": MODEL, "prompt": f"{name}: {{{{input}}}}"} for name in ("gather", "write")]
    configure("chainforge", workflows=[{"name": "daily", "steps": steps}])
    jobs(JOB | {"model": "chain/daily"})
    clockwork.fire(clockwork.plan()[0])
    assert [seen["body"]["messages"][0]["content"][:6] for seen in upstream.seen(MODEL)] == ["gather", "write:"]
    assert [row["tags"] for row in traces(2)] == [{"cronllm": "report"}] * 2


def test_a_firing_is_made_once_however_often_it_is_begun(
    clockwork: Clockwork, jobs: Jobs, upstream: Upstream, traces: Traces, client: Client
) -> None:
    """A worker that dies with the answer in hand leaves it to the next, which is given the same one and tells of it."""

    def dying(_name: str, step: Callable[[], Any]) -> Any:
        step()
        raise Stopping

    jobs(JOB)
    [key] = clockwork.plan()
    with pytest.raises(Stopping):
        clockwork.fire(key, clockwork.context(dying))
    assert clockwork.told() == []
    for _ in range(2):
        clockwork.fire(key)
    assert (len(upstream.seen(MODEL)), len(traces(1))) == (1, 1)
    assert [event["status"] for event in clockwork.told()] == ["completed"]
    assert (stats(client)["completed"], len(clockwork.planned())) == (1, 2)


def test_of_several_workers_one_plans_and_one_begins(clockwork: Clockwork, jobs: Jobs, client: Client) -> None:
    """Turns and firings at once leave one task for each time it is due."""
    jobs(JOB)
    at_once(*[clockwork.plan] * 4)
    [key] = clockwork.planned()
    clockwork.fire(key)
    at_once(*[clockwork.plan] * 4)
    assert (len(clockwork.planned()), stats(client)["completed"]) == (2, 1)


@SQLITE
def test_what_was_missed_is_made_up_once(clockwork: Clockwork, jobs: Jobs, upstream: Upstream, client: Client) -> None:
    """After a time when nothing ran there is no burst of calls; how many were left out is told."""
    jobs(JOB | {"schedule": "*/30 * * * *"})
    clockwork.plan()
    at = now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    clockwork.change(CronJob, due_at=at)
    clockwork.fire(key_of("report", at))
    assert len(upstream.seen(MODEL)) == 1
    assert 6 <= stats(client)["missed"] <= 7
    due = clockwork.row().due_at
    assert due is not None
    assert timedelta(0) < due - now() <= timedelta(minutes=30)
    assert clockwork.planned()[-1] == key_of("report", due)


@SQLITE
def test_a_job_follows_its_settings(clockwork: Clockwork, jobs: Jobs, upstream: Upstream) -> None:
    """Changed, it is due by its new hours; switched off or taken out, what was planned is called off."""
    jobs(JOB)
    first = clockwork.plan()
    jobs(JOB | {"schedule": "0 10 * * *"})
    clockwork.fire(first[0])
    second = clockwork.plan()[1:]
    assert [key.split("@")[0] for key in (*first, *second)] == ["report", "report"]
    for off in (JOB | {"schedule": "0 10 * * *", "enabled": False}, None):
        jobs(*([off] if off else []))
        clockwork.fire(second[0])
        assert clockwork.plan()[2:] == []
        assert off is None or clockwork.row().due_at is None
    jobs(JOB, enabled=False)
    clockwork.plan()
    assert (upstream.seen(MODEL), clockwork.told()) == ([], [])


@SQLITE
def test_what_comes_up_before_its_settings_are_seen_is_made(
    clockwork: Clockwork, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job stored just before its minute need not wait for the next one."""
    monkeypatch.setattr("app.services.cron.planning.SEEN_WITHIN", timedelta(minutes=2))
    jobs(JOB | {"schedule": "* * * * *"})
    minute = now().replace(second=0, microsecond=0)
    clockwork.change(ModuleState, updated_at=minute - timedelta(seconds=1))
    assert clockwork.plan() == [key_of("report", minute)]


ENDS = {
    "disabled": ("refused", 403, "user"),
    "gone": ("refused", 403, "user"),
    "budget": ("refused", 429, "rate_limited"),
    "guardrail": ("refused", 403, "guardrail"),
    "provider": ("failed", 400, "too_hot"),
    "outage": ("failed", 502, "provider_error"),
}


@pytest.fixture(params=ENDS)
def why(request: pytest.FixtureRequest, configure: Configure, guard: Callable[..., int], upstream: Upstream) -> str:
    """Why a firing will not be answered."""
    if request.param == "budget":
        configure("costcap", daily_limit_usd=0.000001)
    if request.param == "guardrail":
        guard("days", "the day", "block")
    if request.param == "provider":
        upstream.script(MODEL, {"status": 400, "error": {"message": "too hot", "code": "too_hot"}})
    if request.param == "outage":
        configure("retrypilot", enabled=False)
        upstream.script(MODEL, {"status": 500})
    return str(request.param)


@SQLITE
def test_what_is_not_answered_is_told_with_the_reason(
    clockwork: Clockwork, jobs: Jobs, client: Client, upstream: Upstream, why: str
) -> None:
    """Refused where nobody was asked, failed where somebody was; counted, and planned again all the same."""
    jobs(JOB | {"user": 999 if why == "gone" else 1})
    clockwork.change(User, is_active=why != "disabled")
    clockwork.fire(clockwork.plan()[0])
    [event] = clockwork.told()
    status, error = event["status"], event["error"]
    assert (event["type"], (status, error["status"], error.get("reason", error["code"]))) == ("cron.failed", ENDS[why])
    assert error["message"]
    assert (stats(client)[status], len(clockwork.planned())) == (1, 2)
    assert bool(upstream.seen(MODEL)) == (status == "failed")


@SQLITE
def test_a_fault_of_the_gateways_own_is_told_too(
    clockwork: Clockwork, jobs: Jobs, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for the end of a call that broke; a deadline that passed inside it is one."""

    async def breaks(*_: Any) -> None:
        raise TimeoutError

    jobs(JOB)
    monkeypatch.setattr(client.application.runtime.gateway, "handle", breaks)
    clockwork.fire(clockwork.plan()[0])
    [event] = clockwork.told()
    assert (event["status"], event["error"]["status"]) == ("failed", 500)


@SQLITE
def test_a_job_whose_task_was_lost_is_planned_again(clockwork: Clockwork, jobs: Jobs) -> None:
    """Whatever became of one firing, the next ones come; one that only waits for a worker is left to it."""
    jobs(JOB)
    clockwork.plan()
    at = now().replace(microsecond=0) - timedelta(hours=1)
    clockwork.change(CronJob, due_at=at)
    clockwork.change(EngineTask, key=key_of("report", at))
    assert clockwork.plan() == [key_of("report", at)]
    clockwork.change(EngineTask, ended_at=now(), state="failed")
    [_, key] = clockwork.plan()
    assert firing(key)[1] > now()


@SQLITE
def test_a_worker_that_ends_leaves_the_call_to_another(
    clockwork: Clockwork, jobs: Jobs, upstream: Upstream, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for the model for long; whoever takes the firing up makes it, and it is told once."""
    monkeypatch.setattr("app.services.cron.firing.AGAIN_S", 0.02)
    monkeypatch.setattr("app.engine.context.GRACE_S", 0.05)
    jobs(JOB)
    upstream.script(MODEL, {"delay": 0.5}, {"text": "Here."})
    [key] = clockwork.plan()
    threading.Timer(0.1, clockwork.stopping.set).start()
    with pytest.raises(Stopping):
        clockwork.fire(key)
    clockwork.stopping.clear()
    clockwork.fire(key)
    assert [event["status"] for event in clockwork.told()] == ["completed"]
    assert (len(upstream.seen(MODEL)), stats(client)["completed"]) == (2, 1)


@SQLITE
def test_a_worker_that_ends_waits_a_moment_for_the_answer(clockwork: Clockwork, jobs: Jobs, upstream: Upstream) -> None:
    """A deployment must not have a model paid twice for what would have been there in a second."""
    jobs(JOB)
    upstream.script(MODEL, {"delay": 0.5}, {"text": "Twice."})
    [key] = clockwork.plan()
    threading.Timer(0.1, clockwork.stopping.set).start()
    clockwork.fire(key)
    assert [event["status"] for event in clockwork.told()] == ["completed"]
    assert len(upstream.seen(MODEL)) == 1


BAD: list[tuple[list[Json], str]] = [
    ([JOB | {"schedule": "0 9 * *"}], "jobs[0].schedule must be a valid cron expression"),
    ([JOB | {"schedule": "0 9 * * * *"}], "jobs[0].schedule must be a valid cron expression"),
    ([JOB | {"schedule": "61 * * * *"}], "jobs[0].schedule must be a valid cron expression"),
    ([JOB | {"schedule": "R * * * *"}], "jobs[0].schedule must be a valid cron expression"),
    ([JOB | {"schedule": "0 0 31 2 *"}], "jobs[0].schedule must be a valid cron expression"),
    ([JOB | {"zone": "Europe/Zuerich"}], "jobs[0].zone must be a valid time zone"),
    ([JOB | {"zone": "Europe"}], "jobs[0].zone must be a valid time zone"),
    ([JOB | {"zone": "../../etc/passwd"}], "jobs[0].zone must be a valid time zone"),
    ([JOB, JOB], "jobs[1].name must be a valid name that no job before has"),
    ([JOB | {"prompt": ""}], "jobs[0].prompt is required"),
    ([JOB | {"user": 0}], "jobs[0].user must be at least 1"),
    ([JOB | {"project": " x"}], "jobs[0].project must be a valid name of visible"),
]


@SQLITE
def test_a_job_that_can_never_run_is_refused_when_it_is_stored(client: Client, jobs: Jobs) -> None:
    """With the field that is wrong; nothing is changed."""
    jobs(JOB)
    before = client.admin.get(SETTINGS).json()["config"]
    for wanted, told in BAD:
        answer = client.admin.put(SETTINGS, json={"config": {"jobs": wanted}})
        assert answer.status_code in {400, 422}, answer.text
        assert told in answer.text
    assert client.admin.get(SETTINGS).json()["config"] == before
    good = JOB | {"schedule": "*/15 8-18 * * mon-fri", "zone": "America/New_York"}
    assert client.admin.put(SETTINGS, json={"config": {"jobs": [good]}}).status_code == 200


@pytest.mark.parametrize(
    ("schedule", "zone", "after", "due"),
    [
        ("0 9 * * *", "UTC", "2026-06-01T09:00", "2026-06-02T09:00"),
        ("0 9 * * *", "Europe/Zurich", "2026-06-01T00:00", "2026-06-01T07:00"),
        ("0 9 * * mon-fri", "Europe/Zurich", "2026-01-02T08:30", "2026-01-05T08:00"),
        ("0 0 1,15 * mon", "UTC", "2026-06-02T00:00", "2026-06-08T00:00"),
        ("30 2 * * *", "Europe/Zurich", "2026-03-28T12:00", "2026-03-29T01:00"),
        ("30 2 * * *", "Europe/Zurich", "2026-10-24T12:00", "2026-10-25T00:30"),
        ("30 2 * * *", "Europe/Zurich", "2026-10-25T00:30", "2026-10-26T01:30"),
        ("30 * * * *", "Europe/Zurich", "2026-10-25T00:30", "2026-10-25T01:30"),
    ],
)
def test_hours_are_those_of_the_jobs_zone(schedule: str, zone: str, after: str, due: str) -> None:
    """Also where clocks change: a daily job neither drops out nor comes twice."""
    found = next_after(schedule, zone, datetime.fromisoformat(after).replace(tzinfo=UTC))
    assert found == datetime.fromisoformat(due).replace(tzinfo=UTC)
