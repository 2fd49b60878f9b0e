"""A canary takes its share of calls, and gives all of them back when it fails: by itself, in every worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from app.factory import Application
from app.services.rollups import store
from app.services.trace_record import TraceRecord, trace_id
from gateway.lane.conftest import Ask
from gateway.upstream import Upstream
from models.base import micros, now
from support.callers import Caller
from support.receiver import receiving

Configure = Callable[..., None]
Traces = Callable[..., list[dict[str, Any]]]
SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
BOTH = {"model": "gpt-old", "canary": "gpt-new"}


@SQLITE
def test_a_share_of_calls_is_sent_to_the_canary(
    ask: Ask, configure: Configure, upstream: Upstream, traces: Traces, admin: Caller
) -> None:
    """All at 100, none at 0, and no other model's; plain and streamed."""
    for percent in (0, 100):
        configure("canarydeploy", percent=percent, **BOTH)
        for stream in (False, True):
            assert ask("gpt-old", stream=stream).status_code == 200
    assert ask("gpt-other").status_code == 200
    noted = [(row["model"], json.loads(row["details"]).get("canarydeploy")) for row in traces(5)]
    expected = [("gpt-old", "stable")] * 2 + [("gpt-new", "canary")] * 2 + [("gpt-other", None)]
    assert sorted(noted, key=str) == sorted(expected, key=str)
    assert admin.get("/api/proxy/modules/canarydeploy").json()["stats"] == {"canary": 2, "stable": 2}


@SQLITE
def test_a_sticky_caller_stays(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """One who began with a model goes on with it."""
    configure("canarydeploy", percent=50, sticky=True, **BOTH)
    assert len({ask("gpt-old").headers["x-stockyard-model"] for _ in range(6)}) == 1


def tried(number: int, **fields: Any) -> list[TraceRecord]:
    """So many stored calls of the canary."""
    held = {"request_id": "r", "operation": "chat.completion", "provider": "openai", "model": "gpt-new", "status": "ok"}
    held |= {"created_at": micros(now()), "details": {"canarydeploy": "canary"}}
    return [TraceRecord(id=trace_id(), **(held | fields)) for _ in range(number)]


@pytest.mark.settings(engine="on", outbound_allow="127.0.0.1")
def test_too_many_failures_send_all_calls_back(
    application: Application, ask: Ask, admin: Caller, configure: Configure, upstream: Upstream
) -> None:
    """The module is switched off as an operator would do it, and told of; what began anew is counted anew."""
    engine = application.runtime.engine
    configure("canarydeploy", percent=100, min_calls=10, max_error_rate=0.2, **BOTH)
    with receiving() as receiver:
        admin.post("/api/webhooks", json={"url": receiver.url, "events": ["alert.fired", "module.toggled"]})
        store(engine, tried(8))
        store(engine, tried(50, status="error", http_status=499) + tried(50, model="x", details={}, status="error"))
        store(engine, tried(2, status="error", http_status=502))
        assert _enabled(admin)
        store(engine, tried(1, status="error", http_status=502))
        assert not _enabled(admin)
        told = receiver.of("alert.fired")[0].body["data"]
        assert told["message"] == "3 of 11 calls to gpt-new failed: all calls go to gpt-old again."
        assert receiver.of("module.toggled")[0].body["data"]["enabled"] is False
    application.runtime.changed()
    assert ask("gpt-old").headers["x-stockyard-model"] == "gpt-old"
    admin.put("/api/proxy/modules/canarydeploy", json={"enabled": True})
    store(engine, tried(9, status="error", http_status=502))
    assert _enabled(admin)
    store(engine, tried(1))
    assert not _enabled(admin)


def _enabled(admin: Caller) -> bool:
    return bool(admin.get("/api/proxy/modules/canarydeploy").json()["enabled"])
