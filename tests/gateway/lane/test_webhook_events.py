"""Events of model calls: told beside the calls, once, with what is needed to find them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import update

from app.cli import group
from app.factory import Application
from app.services.rollups import store
from app.services.trace_record import TraceRecord, trace_id
from app.services.webhooks.watching import HIGH_RATE, ErrorRate
from app.settings import Settings
from gateway.lane.conftest import Ask
from gateway.upstream import Upstream
from models.base import micros, now, transaction
from models.gateway import ProviderHealth
from support.callers import Caller
from support.receiver import Receiver, receiving

pytestmark = pytest.mark.settings(engine="on", outbound_allow="127.0.0.1")
SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")


@pytest.fixture
def receiver(admin: Caller) -> Iterator[Receiver]:
    """A receiver of everything."""
    with receiving() as started:
        assert admin.post("/api/webhooks", json={"url": started.url}).status_code == 201
        yield started


def calls(number: int, **fields: Any) -> list[TraceRecord]:
    """So many stored calls."""
    held = {"request_id": "r", "operation": "chat.completion", "provider": "openai", "model": "m", "status": "ok"}
    return [TraceRecord(id=trace_id(), created_at=micros(now()), **(held | fields)) for _ in range(number)]


def test_a_failed_call_is_told_of(ask: Ask, upstream: Upstream, receiver: Receiver) -> None:
    """With its trace, so that whoever is on call finds it; one that went well is not."""
    upstream.script("gpt-bad", {"status": 400, "body": {"error": {"message": "no such thing"}}})
    upstream.script("gpt-good", {})
    assert ask("gpt-good").status_code == 200
    answer = ask("gpt-bad")
    data = receiver.of("trace.error")[0].body["data"]
    assert data["trace_ids"] == [answer.headers["x-stockyard-trace-id"]]
    assert (data["count"], data["provider"], data["model"]) == (1, "openai", "gpt-bad")
    assert data["http_status"] == answer.status_code
    assert receiver.events() == ["trace.error"]


def test_a_circuit_that_opens_and_closes_is_told_of(
    ask: Ask, upstream: Upstream, receiver: Receiver, configure: Any
) -> None:
    """An open circuit means that a provider is kept away from: somebody should look."""
    configure("retrypilot", enabled=False)
    configure("failover", circuit_breaker={"failure_threshold": 2, "recovery_timeout": "300ms"})
    upstream.script("gpt-x", {"status": 500}, {"status": 500})
    ask("gpt-x")
    ask("gpt-x")
    opened = receiver.of("circuit.opened")[0].body["data"]
    assert (opened["provider"], opened["failures"]) == ("openai", 2)
    upstream.script("gpt-y", {})
    while ask("gpt-y").status_code != 200:
        pass
    assert receiver.of("circuit.closed")[0].body["data"]["provider"] == "openai"


def test_many_failures_of_one_cause_are_one_event(application: Application, receiver: Receiver) -> None:
    """A provider that is down for a second must not fill the outbox; keys in a provider's words are not passed on."""
    failed = calls(300, status="error", http_status=502, error="the key sk-abcdefgh12345678 is wrong")
    failed += [row for n in range(30) for row in calls(2, status="error", http_status=404, model=f"made-up-{n}")]
    failed += calls(3, status="error", http_status=499) + calls(3, status="error", http_status=502, source="demo")
    store(application.runtime.engine, failed)
    store(application.runtime.engine, failed)
    found = [post.body["data"] for post in receiver.of("trace.error", 21)]
    assert sum(data["count"] for data in found) == 360
    most = max(found, key=lambda data: int(data["count"]))
    assert (most["count"], len(most["trace_ids"])) == (300, 10)
    assert "sk-abc" not in most["error"]


def test_milestones_and_a_high_error_rate_are_told_once(application: Application, receiver: Receiver) -> None:
    """A hundred calls come once in a server's life, however they are batched; a bad hour is told of once in six."""
    engine = application.runtime.engine
    store(engine, calls(99))
    turn = ErrorRate(engine)
    turn(None)  # type: ignore[arg-type]
    for failed in (3, 3, 20):  # only with the last is the share high: the server's own turn may come at any time
        store(engine, calls(failed, status="error", http_status=502))
    turn(None)  # type: ignore[arg-type]
    turn(None)  # type: ignore[arg-type]
    milestone = receiver.of("upgrade.trace_milestone_100")[0].body["data"]
    assert milestone["details"] == {"traces": 102}
    high = receiver.of(HIGH_RATE)[0].body["data"]
    assert high["details"] == {"calls": 125, "errors": 26, "error_rate": 0.208}
    store(engine, calls(400))
    assert receiver.of("upgrade.trace_milestone_500")
    assert len(receiver.of("trace.error", 3)) == 3
    assert sorted(receiver.events()).count(HIGH_RATE) == 1
    assert receiver.events().count("upgrade.trace_milestone_100") == 1


def test_a_provider_that_changes_is_told_of(admin: Caller, application: Application, receiver: Receiver) -> None:
    """From one verdict to another; a first check that finds all well is no news, nor is one that finds the same."""
    for _ in range(2):
        assert admin.post("/api/proxy/providers/sandbox/check").json()["status"] == "active"
    with transaction(application.runtime.engine) as opened:
        opened.execute(update(ProviderHealth).values(status="degraded"))
    admin.post("/api/proxy/providers/sandbox/check")
    told = receiver.of("provider.health_changed")[0].body["data"]
    assert told == {"provider": "sandbox", "from": "degraded", "to": "active"}
    assert receiver.events() == ["provider.health_changed"]


def test_imported_prices_are_told_of(settings: Settings, receiver: Receiver, tmp_path: Path) -> None:
    """What every later call costs changed: who keeps the books hears of it."""
    file = tmp_path / "mine.json"
    file.write_text('{"models": [{"provider": "openai", "model": "house-1", "input": "1", "output": "2"}]}')
    command = ["--data", str(settings.data), "prices", "import", str(file)]
    done = CliRunner().invoke(group, command, env={"YARDMASTER_DATABASE_URL": settings.database_url})
    assert done.exit_code == 0, done.output
    assert receiver.of("prices.imported")[0].body["data"] == {"prices": 1, "overrides": 1}


def test_what_guardrails_found_is_told_of(
    ask: Ask, upstream: Upstream, receiver: Receiver, admin: Caller, configure: Any
) -> None:
    """By rule, with the calls to look at and never the text; personal data once in six hours."""
    admin.post("/api/guardrails", json={"name": "birds", "pattern": "bluebird", "action": "block"})
    configure("promptguard", pii={"mode": "redact"})
    for stream in (False, True):
        refused = ask("gpt-x", "a bluebird", stream=stream)
        assert refused.status_code == 403
        assert ask("gpt-x", "write to ada@example.com", stream=stream).status_code == 200
    told: list[Any] = []
    deadline = time.monotonic() + 10
    while sum(data["matches"] for data in told) < 2:  # calls that are stored together are told of together
        assert time.monotonic() < deadline, told
        time.sleep(0.02)
        told = [data for data in _violations(receiver) if data["rule"] == "birds"]
    assert sum(data["matches"] for data in told) == 2
    assert told[0] | {"count": 0, "matches": 0, "trace_ids": []} == {
        "count": 0,
        "rule": "birds",
        "rule_type": "custom",
        "action": "block",
        "direction": "input",
        "project": "default",
        "matches": 0,
        "models": ["gpt-x"],
        "trace_ids": [],
    }
    assert refused.headers["x-stockyard-trace-id"] in [id_ for data in told for id_ in data["trace_ids"]]
    assert receiver.of("upgrade.pii_detected")[0].body["data"]["message"] == "Found by promptguard.email."
    assert receiver.events().count("upgrade.pii_detected") == 1
    assert not [post for post in receiver.posts if b"bluebird" in post.raw or b"ada@" in post.raw]


def _violations(receiver: Receiver) -> list[Any]:
    return [post.body["data"] for post in list(receiver.posts) if post.body["type"] == "guardrail.violation"]


@SQLITE
def test_many_rules_are_few_events(application: Application, receiver: Receiver) -> None:
    """A flood of findings must not fill the outbox; none of them is left uncounted."""
    found = {"type": "custom", "action": "log", "direction": "output", "matches": 2}
    rows = [row for n in range(25) for row in calls(2, details={"guardrails": [found | {"rule": f"rule {n}"}]})]
    store(application.runtime.engine, rows)
    told = [post.body["data"] for post in receiver.of("guardrail.violation", 21)]
    assert sum(data["count"] for data in told) == 50
    assert sum(data["matches"] for data in told) == 100


def test_a_budget_is_told_of_at_its_thresholds_and_its_end(
    user: Caller, application: Application, receiver: Receiver, configure: Any
) -> None:
    """Once each: whoever pays hears of it before callers are refused, and when they are."""
    configure("costcap", daily_limit_usd=0.0013, notify_at_pct=1)
    notices = application.runtime.gateway.caps.notices
    body = {"model": "sandbox", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20}
    while user.post("/v1/chat/completions", json=body).status_code == 200:
        time.sleep(0.4)
        notices.look()
    notices.look()
    exceeded = receiver.of("spend.cap_exceeded")[0].body["data"]
    assert exceeded == {
        "scope": "project",
        "id": "default",
        "period": "daily",
        "spent": exceeded["spent"],
        "cap": 0.0013,
        "soft": False,
    }
    threshold = receiver.of("cost.threshold")[0].body["data"]
    assert (threshold["project"], threshold["threshold"], threshold["cap"]) == ("default", 0.01, 0.0013)
    assert 0 < threshold["spent"] <= exceeded["spent"] <= 0.0013
    assert receiver.events().count("spend.cap_exceeded") == 1


@SQLITE
def test_a_soft_budget_says_that_it_is_soft(
    user: Caller, application: Application, receiver: Receiver, configure: Any
) -> None:
    """Nobody should look for refusals that there are not."""
    configure("costcap", daily_limit_usd=0.00001, action="warn")
    body = {"model": "sandbox", "messages": [{"role": "user", "content": "hello"}]}
    assert user.post("/v1/chat/completions", json=body).status_code == 200
    deadline = time.monotonic() + 5
    while not application.runtime.gateway.caps.notices.look():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert receiver.of("spend.cap_exceeded")[0].body["data"]["soft"] is True
