"""Anomaly radar: a call that is not usual for its user and model is reported once; what is usual never is."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app.factory import Application
from app.services.observing import radar
from app.services.observing.intake import Sweep
from app.services.rollups import store
from app.services.trace_record import TraceRecord, trace_id
from gateway.lane.conftest import Ask
from gateway.modules.conftest import MODEL
from gateway.upstream import Upstream
from models.base import micros, now, transaction
from models.observing import UsualCall
from support.callers import Caller
from support.receiver import Receiver, receiving
from support.together import at_once

Configure = Callable[..., None]
Json = dict[str, Any]
NOBODY: Any = None
NAME = "anomalyradar"
SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
SENT = pytest.mark.settings(engine="on", outbound_allow="127.0.0.1")


def call(**fields: Any) -> TraceRecord:
    """A stored call of the first user."""
    held: Json = {"request_id": "r", "operation": "chat.completion", "provider": "openai", "model": "m", "status": "ok"}
    held |= {"tokens_in": 100, "tokens_out": 400, "cost_nano": 1_000_000, "user_id": 1, "created_at": micros(now())}
    return TraceRecord(id=trace_id(), **(held | fields))


def at(days: float, hour: float) -> int:
    """A moment so many days ago, at this hour of the day."""
    midnight = now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days)
    return micros(midnight + timedelta(hours=hour))


@pytest.fixture
def stored(application: Application) -> Callable[..., None]:
    """Stores calls as the recorder does, in one batch."""

    def record(*rows: TraceRecord) -> None:
        store(application.runtime.engine, rows)

    return record


@pytest.fixture
def shown(admin: Caller) -> Callable[[], Json]:
    """The module's statistics, as an operator reads them."""
    return lambda: dict(admin.get(f"/api/proxy/modules/{NAME}").json()["stats"])


@pytest.fixture
def rules(shown: Callable[[], Json]) -> Callable[[], dict[str, int]]:
    """What was reported, and how often."""
    return lambda: {alert["rule"]: alert["times"] for alert in shown()["last_alerts"]}


@pytest.fixture
def receiver(admin: Caller) -> Iterator[Receiver]:
    """A receiver of alerts."""
    with receiving() as started:
        assert admin.post("/api/webhooks", json={"url": started.url, "events": ["alert.fired"]}).status_code == 201
        yield started


Stored = Callable[..., None]
Shown = Callable[[], Json]
Rules = Callable[[], dict[str, int]]


def varied(number: int, **fields: Any) -> list[TraceRecord]:
    """Calls that spread as calls do, by factors, two standard deviations to either side; and a cost by its size."""
    chance = random.Random(7)  # noqa: S311 (the same calls each time)
    sizes = [round(math.exp(6 + 0.4 * min(2, max(-2, chance.gauss())))) for _ in range(number)]
    return [call(**({"tokens_out": size, "cost_nano": size * 1_000} | fields)) for size in sizes]


@SENT
def test_a_burst_of_costly_calls_is_one_event(
    stored: Stored, receiver: Receiver, configure: Configure, shown: Shown
) -> None:
    """It leads to the call, with its cost and the usual one; the same again only after the cooldown."""
    configure(NAME)
    stored(*varied(200))
    assert shown() == {"patterns": 1, "judging": 1, "alerts": 0, "last_alerts": []}
    costly = call(cost_nano=2_500_000_000)
    stored(costly, *[call(cost_nano=2_000_000_000) for _ in range(20)])
    stored(*[call(cost_nano=2_000_000_000) for _ in range(20)])
    [told] = [post.body["data"] for post in receiver.of("alert.fired")]
    assert (told["source"], told["rule_name"], told["metric"]) == (NAME, "cost of user 1 on openai/m", "cost")
    assert told["metric_value"] > told["threshold"] == 3
    about = told["details"]
    assert (about["trace_id"], about["user_id"], about["figure"]) == (costly.id, 1, 2.5)
    assert (about["calls"], about["also"]) == (21, [])
    assert 0.0003 < about["usual"] < 0.0005
    assert told["message"].startswith("openai/m: a call of user 1 was $2.5, ")
    assert shown()["alerts"] == 1
    configure(NAME, cooldown="0s")
    stored(call(cost_nano=2_000_000_000))
    assert shown()["alerts"] == 2


@SQLITE
def test_a_call_of_unusual_size_is_reported_by_its_furthest_figure(
    stored: Stored, configure: Configure, shown: Shown, rules: Rules
) -> None:
    """One far too large, and one far too small; a call whose cost is not known has a size all the same."""
    configure(NAME, cooldown="0s")
    stored(*varied(150, cost_nano=None), *varied(150, model="priced"))
    stored(call(tokens_out=60_000, cost_nano=None))
    assert rules() == {"size of user 1 on openai/m": 1}
    stored(call(tokens_in=0, tokens_out=1, cost_nano=None))
    assert rules() == {"size of user 1 on openai/m": 2}
    stored(call(model="priced", tokens_out=20_000, cost_nano=900_000_000))
    assert set(rules()) == {"size of user 1 on openai/m", "cost of user 1 on openai/priced"}
    assert shown()["last_alerts"][0]["figure"] > 3


@SQLITE
def test_usual_calls_are_not_reported(stored: Stored, configure: Configure, rules: Rules) -> None:
    """Nor the first ones, however they differ; nor small differences between calls that are otherwise all alike."""
    configure(NAME, sensitivity=5)
    stored(*varied(2_000))
    stored(*[call(model="alike") for _ in range(300)], *[call(model="alike", tokens_out=420) for _ in range(3)])
    stored(*[call(model="new") for _ in range(98)], call(model="new", cost_nano=10**12, tokens_out=10**6))
    assert rules() == {}
    stored(call(model="alike", tokens_out=9_000))
    assert rules() == {"size of user 1 on openai/alike": 1}


@SQLITE
@pytest.mark.parametrize(("number", "reported"), [(29, 0), (30, 1)])
def test_enough_calls_make_a_pattern(
    stored: Stored, configure: Configure, rules: Rules, number: int, reported: int
) -> None:
    """As many as the setting says, of that user to that model, and answered ones."""
    configure(NAME, min_samples=30)
    stored(*[call() for _ in range(number)])
    stored(*[call(status="error", http_status=502) for _ in range(50)])
    stored(*[call(status="cache_hit", cost_nano=0) for _ in range(50)])
    stored(*[call(source="shadow") for _ in range(50)])
    stored(*[call(user_id=user, model=model) for user, model in [(8, "m"), (1, "n"), (None, "m")] for _ in range(40)])
    stored(call(tokens_out=9_000))
    assert len(rules()) == reported


@SQLITE
def test_patterns_are_of_one_user_and_one_model(stored: Stored, configure: Configure, rules: Rules) -> None:
    """What is usual for one of them is not for another; nobody's calls have a pattern, too."""
    configure(NAME)
    small, large = {"tokens_out": 20, "cost_nano": 10}, {"tokens_out": 50_000, "cost_nano": 10**9}
    stored(*varied(120, **small), *varied(120, user_id=None, **large), *varied(120, model="n", **large))
    stored(call(user_id=None, **large), call(model="n", **large), call(**small))
    assert rules() == {}
    stored(call(user_id=None, **small))
    assert list(rules()) == ["cost of nobody on openai/m"]


@SQLITE
def test_a_long_burst_does_not_become_usual_at_once(stored: Stored, configure: Configure, rules: Rules) -> None:
    """A call that is not usual counts as the edge of what is, so that the next one is seen as well."""
    configure(NAME, cooldown="0s")
    stored(*varied(500))
    for _ in range(20):
        stored(call(cost_nano=10**10))
    assert rules() == {"cost of user 1 on openai/m": 20}


@SQLITE
def test_what_changed_for_good_becomes_usual(stored: Stored, configure: Configure, rules: Rules) -> None:
    """An operator who sees the same alert for ever switches it off."""
    configure(NAME, cooldown="0s")
    stored(*[call() for _ in range(200)])
    for _ in range(15):
        stored(*[call(tokens_out=2_000) for _ in range(100)])
    before = rules()["size of user 1 on openai/m"]
    assert 1 <= before < 15
    stored(*[call(tokens_out=2_000) for _ in range(100)])
    assert rules() == {"size of user 1 on openai/m": before}


@SQLITE
def test_a_call_at_an_unusual_hour_is_reported(stored: Stored, configure: Configure, rules: Rules) -> None:
    """Once the hours of several days are known, around midnight as well; a single day's work tells nothing."""
    configure(NAME)
    night = [23.2, 0.1, 0.9, 1.5]
    stored(*[call(created_at=at(9 - day, hour)) for day in range(8) for hour in night for _ in range(5)])
    stored(call(created_at=at(1, 22.5)), call(created_at=at(1, 2.5)))
    assert rules() == {}
    stored(call(created_at=at(1, 13.25)))
    assert rules() == {"hour of user 1 on openai/m": 1}
    stored(*[call(model="new", created_at=at(2, hour)) for hour in (9, 10, 11) for _ in range(100)])
    stored(call(model="new", created_at=at(2, 22)))
    assert len(rules()) == 1


@SENT
@SQLITE
def test_an_hour_is_told_as_people_read_it(stored: Stored, receiver: Receiver, configure: Configure) -> None:
    """With the hour that is usual, and which figures were not usual besides."""
    configure(NAME)
    stored(*[call(created_at=at(30 - day, 14.5)) for day in range(28) for _ in range(5)])
    stored(call(created_at=at(1, 3.2), cost_nano=1_500_000))
    told = receiver.of("alert.fired")[0].body["data"]
    assert told["message"].startswith(
        "openai/m: a call of user 1 was at 03:12 UTC, 11.3 standard deviations from at 14:"
    )
    assert (told["metric"], told["details"]["also"]) == ("hour", ["cost"])


def test_calls_through_the_lane_are_seen(
    ask: Ask, upstream: Upstream, configure: Configure, rules: Rules, traces: Callable[..., list[Json]], shown: Shown
) -> None:
    """Plain and streamed ones have one pattern; a long answer among short ones is reported."""
    configure(NAME, min_samples=10)
    for number in range(10):
        ask(MODEL, stream=bool(number % 2))
    traces(10)
    assert (shown()["judging"], rules()) == (1, {})
    upstream.script(MODEL, {"usage": {"prompt_tokens": 8, "completion_tokens": 9_000, "total_tokens": 9_008}})
    ask(MODEL)
    row = traces(11)[-1]
    [rule] = rules()
    assert rule.split(" of ")[1] == f"user {row['user_id']} on openai/{MODEL}"


@SQLITE
@pytest.mark.parametrize("config", [{"sensitivity": 0.5}, {"min_samples": 9}, {"cooldown": "soon"}, {"other": 1}])
def test_bad_settings_are_refused(admin: Caller, config: Json) -> None:
    """By the schema, before anything is stored."""
    assert admin.put(f"/api/proxy/modules/{NAME}", json={"enabled": True, "config": config}).status_code == 400


def test_what_is_off_learns_nothing(application: Application, stored: Stored, configure: Configure) -> None:
    """Nothing is kept of anybody's habits, and a call that is stored twice is learnt once."""
    stored(*varied(5))
    configure(NAME, enabled=False)
    stored(*varied(5))
    assert _kept(application) == []
    configure(NAME)
    rows = varied(5)
    stored(*rows)
    stored(*rows)
    assert [pattern.calls for pattern in _kept(application)] == [5]


def test_workers_learn_and_report_together(
    application: Application, stored: Stored, configure: Configure, rules: Rules
) -> None:
    """Whoever stores a call counts it in the one pattern there is, and a burst over all of them is one event."""
    configure(NAME)
    at_once(*[lambda: stored(*varied(50)) for _ in range(4)])
    assert [pattern.calls for pattern in _kept(application)] == [200]
    at_once(*[lambda: stored(call(cost_nano=10**10)) for _ in range(4)])
    assert rules() == {"cost of user 1 on openai/m": 1}


def test_patterns_are_bounded(application: Application, stored: Stored, configure: Configure) -> None:
    """Those of users who are gone go, old ones go, and of too many the oldest."""
    configure(NAME)
    stored(*[call(user_id=None, model=f"m{number}") for number in range(6)], call(user_id=10**9))
    _age(application, "m0", timedelta(days=91))
    for number in range(1, 6):
        _age(application, f"m{number}", timedelta(days=number))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(radar, "MOST_KEPT", 3)
        Sweep(application.runtime.engine)(NOBODY)
    assert sorted(pattern.model for pattern in _kept(application)) == ["m1", "m2", "m3"]


def _age(application: Application, model: str, age: timedelta) -> None:
    with transaction(application.runtime.engine) as session:
        pattern = session.get_one(UsualCall, (0, "openai", model))
        pattern.seen_at = now() - age


def _kept(application: Application) -> list[UsualCall]:
    with transaction(application.runtime.engine, write=False) as session:
        return list(session.scalars(select(UsualCall)))
