"""Fine-tune tracking: both models of a pair are measured alike, and nothing is said that nobody knows."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from app.factory import Application
from app.services.observing import finetune, ratings
from app.services.observing.cells import day_of
from app.services.rollups import store
from app.services.trace_record import TraceRecord, trace_id
from gateway.lane.conftest import Ask
from models.base import micros, now, transaction
from models.trust import TrustFeedback
from support.callers import Caller
from support.plans import plan_of, scans

Configure = Callable[..., None]
Json = dict[str, Any]
NAME, FEEDBACK = "finetunetrack", "/api/trust/feedback"
TUNED, BASE = "ft:small:acme", "small"
PAIRS = {TUNED: BASE}
SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")


@pytest.fixture
def engine(application: Application) -> Engine:
    """The test's database."""
    return application.runtime.engine


@pytest.fixture
def stored(engine: Engine) -> Callable[..., str]:
    """Stores an answered call of some days ago as the recorder does: `stored("m", 5_000)`; its id."""

    def submit(model: str, cost: int | None = 1_000, days: float = 0, **fields: Any) -> str:
        held: Json = {
            "request_id": "r",
            "operation": "chat.completion",
            "provider": "p",
            "status": "ok",
            "model": model,
        }
        held |= {"created_at": micros(now() - timedelta(days=days)), "cost_nano": cost}
        held |= {"tokens_in": 3, "tokens_out": 4}
        row = TraceRecord(id=trace_id(), **(held | fields))
        store(engine, [row])
        return row.id

    return submit


@pytest.fixture
def shown(admin: Caller) -> Callable[[], Json]:
    """The module's statistics, as an operator reads them."""
    return lambda: dict(admin.get(f"/api/proxy/modules/{NAME}").json()["stats"])


@pytest.fixture
def rate(admin: Caller) -> Callable[[str, int], None]:
    """Rates a call, as an operator does."""

    def submit(trace: str, rating: int) -> None:
        assert admin.post(FEEDBACK, json={"trace_id": trace, "rating": rating}).status_code == 201

    return submit


Stored = Callable[..., str]
Shown = Callable[[], Json]
Rate = Callable[[str, int], None]


def test_a_pair_is_compared_by_cost_and_ratings(stored: Stored, rate: Rate, configure: Configure, shown: Shown) -> None:
    """Whichever providers answered; calls of other models are nobody's."""
    configure(NAME, pairs=PAIRS)
    for provider, stars in (("p", 5), ("q", 4), ("q", 4)):
        rate(stored(TUNED, 30_000, provider=provider), stars)
    for cost, stars in ((10_000, 2), (30_000, 3)):
        rate(stored(BASE, cost), stars)
    rate(stored("else", 9_000_000), 0)
    [pair] = shown()["pairs"]
    assert (pair["model"], pair["base"]) == (TUNED, BASE)
    tuned, base = pair["fine_tuned"], pair["original"]
    assert (tuned["calls"], tuned["tokens_in"], tuned["tokens_out"], tuned["cost_usd"]) == (3, 9, 12, 0.00009)
    assert [(one["cost_per_call_usd"], one["ratings"], one["mean_rating"]) for one in (tuned, base)] == [
        (0.00003, 3, 4.33),
        (0.00002, 2, 2.5),
    ]
    assert pair["change"] == {"cost_per_call_percent": 50, "mean_rating": 1.83}


def test_what_nobody_knows_is_not_said(stored: Stored, configure: Configure, shown: Shown) -> None:
    """A model without a price is not free, and one nobody rated is not bad."""
    configure(NAME, pairs=PAIRS | {"ft:none": "none"})
    for cost in (None, None):
        stored(TUNED, cost)
    stored(BASE, 10_000)
    none, pair = shown()["pairs"]
    assert (pair["fine_tuned"]["calls"], pair["fine_tuned"]["unpriced"]) == (2, 2)
    assert (pair["fine_tuned"]["cost_per_call_usd"], pair["original"]["cost_per_call_usd"]) == (None, 0.00001)
    nothing = {"cost_per_call_percent": None, "mean_rating": None}
    assert (pair["change"], none["change"]) == (nothing, nothing)
    assert (none["model"], none["fine_tuned"]["calls"], none["original"]["mean_rating"]) == ("ft:none", 0, None)


def test_an_answer_costs_what_answers_cost(stored: Stored, configure: Configure, shown: Shown) -> None:
    """Neither a call that failed nor one from the cache makes answers look cheaper; a priced part is enough."""
    configure(NAME, pairs=PAIRS)
    stored(TUNED, 10_000)
    stored(TUNED, 20_000)
    stored(TUNED, None)
    stored(TUNED, 0, status="error", http_status=502)
    stored(TUNED, 0, status="cache_hit")
    [pair] = shown()["pairs"]
    assert pair["fine_tuned"]["cost_per_call_usd"] == 0.000015
    assert (pair["fine_tuned"]["calls"], pair["fine_tuned"]["errors"]) == (5, 1)


def test_only_the_window_counts(stored: Stored, rate: Rate, configure: Configure, shown: Shown, engine: Engine) -> None:
    """Whole days, for calls and for ratings."""
    configure(NAME, pairs=PAIRS, window="7d")
    for days in (0, 6, 7):
        stored(TUNED, 1_000, days)
    rate(stored(BASE), 1)
    with transaction(engine) as session:
        session.query(TrustFeedback).update({"created_at": now() - timedelta(days=8)})
    [pair] = shown()["pairs"]
    assert (pair["fine_tuned"]["calls"], pair["original"]["calls"], pair["original"]["ratings"]) == (2, 1, 0)
    assert shown()["since"] == (now() - timedelta(days=6)).date().isoformat()


@SQLITE
def test_ratings_are_read_on_the_scale_of_the_house(
    stored: Stored, rate: Rate, configure: Configure, shown: Shown
) -> None:
    """That of feedbackloop, whether it is on or not."""
    configure("feedbackloop", enabled=False, scale="thumbs")
    configure(NAME, pairs=PAIRS)
    for thumb in (1, 1, -1, 5):
        rate(stored(TUNED), thumb)
    [pair] = shown()["pairs"]
    assert (pair["fine_tuned"]["ratings"], pair["fine_tuned"]["mean_rating"]) == (3, 3.33)


def test_calls_through_the_lane_are_compared(
    ask: Ask, user: Caller, configure: Configure, traces: Callable[..., list[Json]], shown: Shown
) -> None:
    """Plain and streamed, from before the pair was named, with their user's own ratings."""
    for stream in (False, True):
        answer = ask("gpt-4o", stream=stream)
        said = {"trace_id": answer.headers["x-stockyard-trace-id"], "rating": 4}
        assert user.post(FEEDBACK, json=said).status_code == 201
    traces(2)
    configure(NAME, pairs={"gpt-4o": "gpt-4o-mini"})
    tuned = shown()["pairs"][0]["fine_tuned"]
    assert (tuned["calls"], tuned["ratings"], tuned["mean_rating"]) == (2, 2, 4)
    assert tuned["cost_per_call_usd"] > 0


@SQLITE
def test_what_is_off_says_nothing(stored: Stored, configure: Configure, shown: Shown) -> None:
    """And without pairs there is nothing to say."""
    stored(TUNED)
    configure(NAME, enabled=False, pairs=PAIRS)
    assert shown() == {}
    configure(NAME)
    assert shown()["pairs"] == []


def test_many_stored_calls_are_not_looked_through(configure: Configure, shown: Shown, engine: Engine) -> None:
    """Costs come from the sums of days, ratings find their calls by index."""
    base: Json = {"request_id": "r", "operation": "chat", "provider": "p", "status": "ok", "created_at": micros(now())}
    calls = [TraceRecord(trace_id(), model=f"m{at % 50}", **(base | {"request_id": f"r{at}"})) for at in range(20_000)]
    store(engine, calls)
    with transaction(engine) as session:
        session.add_all(TrustFeedback(request_id=call.id, rating=at % 6) for at, call in enumerate(calls[:100]))
    configure(NAME, pairs={"m1": "m2"})
    began = time.monotonic()
    assert [shown()["pairs"][0][one]["ratings"] for one in ("fine_tuned", "original")] == [2, 2]
    assert time.monotonic() - began < 3
    rated = ratings.last(TrustFeedback.created_at >= now() - timedelta(minutes=5), "stars")
    assert not scans(plan_of(engine, rated), "traces")
    assert "traces" not in plan_of(engine, finetune.usage(["m1"], day_of(now())))


@SQLITE
@pytest.mark.parametrize("config", [{"pairs": [TUNED]}, {"pairs": {"": "m"}}, {"window": "long"}])
def test_bad_settings_are_refused(admin: Caller, config: Json) -> None:
    """By the schema, before anything is stored."""
    assert admin.put(f"/api/proxy/modules/{NAME}", json={"enabled": True, "config": config}).status_code == 400
