"""Observers: what they say of calls is true, over plain and streamed ones, and alerts come once and say why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from app.factory import Application
from app.services.observing.drift import Drift
from app.services.observing.intake import Sweep
from app.services.observing.pulse import Pulse
from app.services.rollups import store
from app.services.trace_record import TraceRecord, trace_id
from gateway.lane.conftest import Ask
from gateway.modules.conftest import MODEL
from gateway.upstream import Upstream
from models.base import micros, now, transaction
from models.observing import Spread
from support.callers import Caller
from support.receiver import Receiver, receiving

Configure = Callable[..., None]
Traces = Callable[..., list[dict[str, Any]]]
Json = dict[str, Any]
NOBODY: Any = None


def calls(number: int, ago: timedelta = timedelta(), **fields: Any) -> list[TraceRecord]:
    """So many stored calls."""
    held: Json = {"request_id": "r", "operation": "chat.completion", "provider": "openai", "model": "m", "status": "ok"}
    held |= {"duration_us": 1_000_000, "tokens_out": 100, "cost_nano": 1_000} | fields
    held["created_at"] = micros(now() - ago) - held["duration_us"]
    return [TraceRecord(id=trace_id(), **held) for _ in range(number)]


@pytest.fixture
def stored(application: Application) -> Callable[..., None]:
    """Stores calls as the recorder does: `stored(20, status="error")`."""

    def record(number: int, ago: timedelta = timedelta(), **fields: Any) -> None:
        store(application.runtime.engine, calls(number, ago, **fields))

    return record


@pytest.fixture
def shown(admin: Caller) -> Callable[[str], Json]:
    """A module's statistics, as an operator reads them."""
    return lambda name: dict(admin.get(f"/api/proxy/modules/{name}").json()["stats"])


@pytest.fixture
def receiver(admin: Caller) -> Iterator[Receiver]:
    """A receiver of alerts."""
    with receiving() as started:
        made = admin.post("/api/webhooks", json={"url": started.url, "events": ["alert.fired", "module.toggled"]})
        assert made.status_code == 201
        yield started


Stored = Callable[..., None]
Shown = Callable[[str], Json]
SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
SENT = pytest.mark.settings(engine="on", outbound_allow="127.0.0.1")


@SENT
def test_a_high_share_of_failures_raises_an_alert_once(
    application: Application, stored: Stored, receiver: Receiver, configure: Configure, shown: Shown
) -> None:
    """With its figures; again only after the cooldown; calls that their callers gave up are no failures."""
    configure("alertpulse")
    turn = Pulse(application.runtime.engine)
    stored(15)
    stored(4, status="error", http_status=502)
    stored(30, status="error", http_status=499)
    stored(30, status="error", http_status=429, attempts=0)
    turn(NOBODY)
    assert shown("alertpulse") == {
        "calls": 19,
        "failed": 4,
        "error_rate": 21.05,
        "p95_ms": 999.4,
        "alerts": 0,
        "last_alerts": [],
    }
    stored(1, status="error", http_status=502)
    turn(NOBODY)
    turn(NOBODY)
    told = receiver.of("alert.fired")[0].body["data"]
    assert (told["source"], told["rule_name"], told["metric"]) == ("alertpulse", "high_error_rate", "error_rate")
    assert (told["metric_value"], told["threshold"], told["details"]) == (25.0, 25, {"calls": 20})
    assert told["message"] == "5 of 20 calls of the last 5m failed."
    assert shown("alertpulse")["alerts"] == 1
    configure("alertpulse", cooldown="0s")
    turn(NOBODY)
    assert len(receiver.of("alert.fired", 2)) == 2
    assert shown("alertpulse")["last_alerts"][0]["times"] >= 2


@SQLITE
@SENT
def test_slow_answers_raise_an_alert(
    application: Application, stored: Stored, receiver: Receiver, configure: Configure
) -> None:
    """By the one in twenty that is slowest; too few calls say nothing, and a rule at 0 is off."""
    configure("alertpulse", rules={"slow_p95": 900}, min_calls=20)
    turn = Pulse(application.runtime.engine)
    stored(19)
    turn(NOBODY)
    stored(1)
    configure("alertpulse", rules={"slow_p95": 0}, min_calls=20)
    turn(NOBODY)
    configure("alertpulse", rules={"slow_p95": 900}, min_calls=20)
    turn(NOBODY)
    [told] = [post.body["data"] for post in receiver.of("alert.fired")]
    assert (told["rule_name"], told["details"]) == ("slow_p95", {"calls": 20})
    assert abs(told["metric_value"] - 1000) <= 32


@SQLITE
def test_old_calls_are_out_of_the_window(
    application: Application, stored: Stored, configure: Configure, shown: Shown
) -> None:
    """An alert is about now."""
    configure("alertpulse")
    stored(50, timedelta(minutes=7), status="error", http_status=502)
    stored(1)
    assert (shown("alertpulse")["calls"], shown("alertpulse")["failed"]) == (1, 0)


def test_what_is_off_takes_nothing(application: Application, stored: Stored, configure: Configure) -> None:
    """Not a row is written for an observer that nobody switched on, nor twice for a call that is stored twice."""
    engine = application.runtime.engine
    stored(5)
    assert _kept(application) == 0
    configure("llmtap")
    rows = calls(5)
    store(engine, rows)
    held = _kept(application)
    store(engine, rows)
    assert _kept(application) == held == 15


def _kept(application: Application) -> int:
    with transaction(application.runtime.engine, write=False) as session:
        return int(session.scalar(select(func.coalesce(func.sum(Spread.calls), 0))) or 0)


def test_old_slots_are_forgotten(application: Application, stored: Stored, configure: Configure) -> None:
    """Hours after five weeks, minutes after a day; what is younger stays."""
    configure("llmtap")
    configure("alertpulse")
    stored(1, timedelta(days=36))
    stored(1, timedelta(days=34))
    held = _kept(application)
    Sweep(application.runtime.engine)(NOBODY)
    assert (held, _kept(application)) == (10, 3)


def test_percentiles_by_model_are_those_of_its_calls(
    application: Application, stored: Stored, configure: Configure, shown: Shown
) -> None:
    """In all, and for each hour; a slow failure is counted and not measured, and no price is no cost."""
    configure("llmtap", percentiles=[50, 99])
    spread = [row for ms in range(1, 101) for row in calls(1, duration_us=ms * 1_000, model="quick")]
    store(application.runtime.engine, spread)
    stored(3, status="error", http_status=502, duration_us=9_000_000, model="quick")
    stored(2, status="cache_hit", duration_us=10, model="quick", cost_nano=0)
    stored(1, timedelta(hours=3), duration_us=500_000, model="quick")
    stored(1, timedelta(hours=30), model="quick")
    stored(2, model="other", cost_nano=None)
    first, second = shown("llmtap")["models"]
    assert (first["model"], first["calls"], first["errors"], first["cache_hits"]) == ("quick", 106, 3, 2)
    assert abs(first["latency_ms"]["p50"] - 51) <= 1.6
    assert abs(first["latency_ms"]["p99"] - 100) <= 3.2
    assert [point["calls"] for point in first["points"]] == [1, 105]
    assert abs(first["points"][0]["latency_ms"]["p50"] - 500) <= 16
    assert second["cost_usd"] == {"p50": None, "p99": None}
    configure("llmtap", granularity="daily")
    assert sum(point["calls"] for point in shown("llmtap")["models"][0]["points"]) == 107


def test_streams_are_measured_as_their_users_felt_them(
    ask: Ask, upstream: Upstream, configure: Configure, shown: Shown, traces: Traces
) -> None:
    """A plain call is no stream; one that broke and one that came whole are told apart."""
    configure("streamsnap")
    upstream.script(MODEL, {"text": "one two three four five six", "first": 0.1, "pause": 0.02})
    ask(MODEL)
    ask(MODEL, stream=True)
    upstream.script(MODEL, {"frames": 3, "then": "close"})
    ask(MODEL, stream=True)
    rows = traces(3)
    [row] = shown("streamsnap")["models"]
    assert (row["model"], row["streams"], row["complete"], row["broken"]) == (MODEL, 2, 1, 1)
    assert row["completion_rate"] == 0.5
    streamed = next(trace for trace in rows if trace["stream"] and trace["status"] == "ok")
    assert row["first_token_ms"]["p99"] >= 95
    speed = streamed["tokens_out"] * 1e6 / (streamed["duration_us"] - streamed["first_byte_us"])
    assert abs(row["tokens_per_second"]["p50"] - speed) <= speed * 0.04 + 0.1
    configure("streamsnap", metrics={"tps": False, "completion_check": False})
    assert shown("streamsnap")["models"][0].keys() == {"provider", "model", "streams", "first_token_ms"}


@SQLITE
@SENT
def test_a_model_that_changed_is_reported(
    application: Application, stored: Stored, receiver: Receiver, configure: Configure, shown: Shown
) -> None:
    """By what changed, from what to what; one that stayed as it was is not, nor one with too few calls."""
    configure("driftwatch", min_samples=10)
    said = b'{"choices": [{"message": {"content": "%b"}, "finish_reason": "stop"}]}'
    past = timedelta(hours=5)
    fine, sorry = said % b"Of course", said % b"I'm sorry, but I can't help with that"
    stored(20, past, model="drifts", tokens_out=100, duration_us=1_000_000, response_body=fine)
    stored(20, past, model="stays", tokens_out=100, response_body=sorry)
    stored(20, past, model="rare", tokens_out=100)
    stored(10, model="drifts", tokens_out=160, duration_us=1_100_000, response_body=sorry)
    stored(10, model="stays", tokens_out=110, response_body=sorry)
    stored(9, model="rare", tokens_out=900)
    turn = Drift(application.runtime.engine)
    turn(NOBODY)
    turn(NOBODY)
    told = {post.body["data"]["metric"]: post.body["data"] for post in receiver.of("alert.fired", 2)}
    assert told["tokens"]["rule_name"] == "tokens of openai/drifts"
    assert abs(told["tokens"]["metric_value"] - 60) <= 5
    assert told["refused"]["message"] == "openai/drifts: per cent of refusals went from 0 to 100."
    figures = shown("driftwatch")
    assert figures["alerts"] == 2
    assert {(one["model"], one["measure"]) for one in figures["compared"] if one["changed"]} == {
        ("drifts", "tokens"),
        ("drifts", "refused"),
    }
    assert len(receiver.posts) == 2


@SQLITE
def test_what_a_user_quotes_is_no_refusal(stored: Stored, configure: Configure, shown: Shown) -> None:
    """Only how an answer ends and begins counts, not what stands in it."""
    configure("driftwatch", min_samples=1)
    quoted = rb'{"choices": [{"message": {"content": "He wrote \"finish_reason\":\"content_filter\" to me"}}]}'
    withheld = b'{"choices": [{"message": {"content": null}, "finish_reason":"content_filter"}]}'
    stored(1, timedelta(hours=4), response_body=quoted)
    stored(1, response_body=withheld)
    [found] = [one for one in shown("driftwatch")["compared"] if one["measure"] == "refused"]
    assert (found["before"], found["now"]) == (0, 100)
