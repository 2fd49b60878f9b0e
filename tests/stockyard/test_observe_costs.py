"""Costs and series over HTTP: what the rollups say is what the traces add up to, and no day is missing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.callers import Caller
from support.people import Promised


def add(admin: Caller, days_ago: float = 0, **fields: Any) -> None:
    """Record a trace of some time ago."""
    moment = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat()
    body = {"operation": "chat", "provider": "p", "model": "m", "created_at": moment} | fields
    assert admin.post("/api/observe/traces", json=body).status_code == 201


@pytest.fixture
def traffic(admin: Caller) -> Caller:
    """Five calls: three today, one three days ago, one long ago."""
    add(admin, tokens_in=10, tokens_out=5, cost_usd=1.5, duration_ms=100, user_id=7, tags={"team": "a"})
    add(admin, tokens_in=1, cost_usd=0.5, duration_ms=300, status="cache_hit", user_id=8, tags={"team": "b"})
    add(admin, status="error", model="n", project="other", tags={"team": "a"})
    add(admin, 3, provider="q", cost_usd=2, user_id=7)
    add(admin, 40, cost_usd=100)
    return admin


def test_the_overview_adds_up(traffic: Caller, promised: Promised) -> None:
    """The first page an operator opens must agree with the last."""
    shown = promised(traffic.get("/api/observe/overview"))
    assert shown["total_requests"] == shown["total_traces"] == 5
    assert (shown["total_errors"], shown["unpriced_requests"]) == (1, 1)
    assert (shown["total_tokens_in"], shown["total_tokens_out"], shown["total_cost_usd"]) == (11, 5, 104.0)
    assert (shown["avg_latency_ms"], shown["cache_hit_rate"]) == (80.0, 0.2)
    assert (shown["top_model"], shown["top_provider"]) == ("m", "p")
    assert shown["today"] == {"requests": shown["requests_today"], "cost_usd": shown["cost_today_usd"]}
    assert shown["today"] == {"requests": 3, "cost_usd": 2.0}


def test_the_overview_of_nothing_names_no_favourite(admin: Caller, promised: Promised) -> None:
    """A fresh server divides by no zero."""
    shown = promised(admin.get("/api/observe/overview"))
    assert (shown["total_requests"], shown["avg_latency_ms"], shown["top_model"]) == (0, 0.0, None)


def test_costs_are_dearest_first_and_leave_out_older_days(traffic: Caller, promised: Promised) -> None:
    """The report answers where the money of these days went."""
    shown = promised(traffic.get("/api/observe/costs", params={"days": 7}))
    assert (shown["period"], shown["total_usd"], shown["unpriced_requests"]) == ("7d", 4.0, 1)
    assert [(p["provider"], p["requests"], p["cost_usd"]) for p in shown["providers"]] == [("p", 3, 2.0), ("q", 1, 2.0)]
    assert [(m["provider"], m["model"]) for m in shown["models"]] == [("p", "m"), ("q", "m"), ("p", "n")]


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        ("provider", [("p", 3, 2.0), ("q", 1, 2.0)]),
        ("model", [("m", 3, 4.0), ("n", 1, 0.0)]),
        ("project", [("default", 3, 4.0), ("other", 1, 0.0)]),
        ("user", [("7", 2, 3.5), ("8", 1, 0.5)]),
        ("tag", [("team=a", 2, 1.5), ("team=b", 1, 0.5)]),
    ],
)
def test_costs_break_down_by_who_pays(traffic: Caller, promised: Promised, by: str, rows: list[Any]) -> None:
    """Each team wants to know its own part."""
    shown = promised(traffic.get("/api/observe/costs", params={"days": 30, "group_by": by}))
    assert shown["group_by"] == by
    assert [(r["key"], r["requests"], r["cost_usd"]) for r in shown["breakdown"]] == rows


def test_every_day_is_there_with_or_without_calls(traffic: Caller, promised: Promised) -> None:
    """A chart with missing days draws a lie."""
    shown = promised(traffic.get("/api/observe/costs/daily", params={"days": 5}))["daily"]
    today = datetime.now(UTC).date()
    assert [d["date"] for d in shown] == [(today - timedelta(days=n)).isoformat() for n in (4, 3, 2, 1, 0)]
    assert [(d["requests"], d["cost_usd"]) for d in shown] == [(0, 0.0), (1, 2.0), (0, 0.0), (0, 0.0), (3, 2.0)]


def test_days_can_be_narrowed_to_a_provider_and_a_model(traffic: Caller, promised: Promised) -> None:
    """The bill of one provider is compared with its own."""
    narrow = {"days": 5, "provider": "p", "model": "n"}
    shown = promised(traffic.get("/api/observe/costs/daily", params=narrow))["daily"]
    assert [(d["requests"], d["unpriced_requests"]) for d in shown] == [(0, 0)] * 4 + [(1, 1)]


@pytest.mark.parametrize(
    ("period", "buckets", "label"), [("24h", 24, "%Y-%m-%d %H:00"), ("7d", 7, "%Y-%m-%d"), ("30d", 30, "%Y-%m-%d")]
)
def test_series_have_every_bucket(traffic: Caller, promised: Promised, period: str, buckets: int, label: str) -> None:
    """The last bucket is the present one, and what is in it is what happened."""
    shown = promised(traffic.get("/api/observe/timeseries", params={"period": period}))
    assert len(shown["buckets"]) == buckets
    assert shown["buckets"][-1]["bucket"] == datetime.now(UTC).strftime(label)
    last = shown["buckets"][-1]
    assert (last["requests"], last["errors"], last["cost_usd"]) == (3, 1, 2.0)
    assert last["avg_latency_ms"] == pytest.approx(133.333)
    assert sum(b["requests"] for b in shown["buckets"]) == sum(p["requests"] for p in shown["providers"])


def test_status_counts_the_last_minutes(traffic: Caller, promised: Promised) -> None:
    """Whoever is on call sees whether anything comes through now."""
    shown = promised(traffic.get("/api/observe/status"))
    assert (shown["traces"], shown["recent_5m"], shown["recent_1m"], shown["recent_cost_5m"]) == (5, 3, 3, 2.0)
