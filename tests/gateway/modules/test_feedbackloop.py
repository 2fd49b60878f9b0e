"""Feedback loop: ratings count for the model that wrote the answer, and a low mean is told once until it recovered."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from app.factory import Application
from app.services.observing.ratings import Feedback
from app.services.rollups import store
from app.services.trace_record import TraceRecord, trace_id
from gateway.lane.conftest import Ask
from gateway.modules.conftest import MODEL
from models.base import micros, now, transaction
from models.observing import RaisedAlert
from models.trust import TrustFeedback
from support.callers import Caller
from support.receiver import Receiver, receiving

Configure = Callable[..., None]
Json = dict[str, Any]
NOBODY: Any = None
NAME, FEEDBACK = "feedbackloop", "/api/trust/feedback"
SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
SENT = pytest.mark.settings(engine="on", outbound_allow="127.0.0.1")


@pytest.fixture
def stored(application: Application) -> Callable[..., str]:
    """Stores an answered call as the recorder does: `stored(model="m")`; its id."""

    def record(**fields: Any) -> str:
        held: Json = {"id": trace_id(), "created_at": micros(now()), "operation": "chat.completion", "status": "ok"}
        held |= {"provider": "openai", "model": "m"} | fields
        store(application.runtime.engine, [TraceRecord(**({"request_id": f"of-{held['id']}"} | held))])
        return str(held["id"])

    return record


@pytest.fixture
def rate(admin: Caller, stored: Callable[..., str]) -> Callable[..., None]:
    """Rates as an operator does, each time another call: `rate(1, 5, model="m")`."""

    def submit(*ratings: int, **fields: Any) -> None:
        for rating in ratings:
            said = {"trace_id": stored(**fields), "rating": rating}
            assert admin.post(FEEDBACK, json=said).status_code == 201

    return submit


@pytest.fixture
def shown(admin: Caller) -> Callable[[], Json]:
    """The module's statistics, as an operator reads them."""
    return lambda: dict(admin.get(f"/api/proxy/modules/{NAME}").json()["stats"])


@pytest.fixture
def receiver(admin: Caller) -> Iterator[Receiver]:
    """A receiver of alerts."""
    with receiving() as started:
        assert admin.post("/api/webhooks", json={"url": started.url, "events": ["alert.fired"]}).status_code == 201
        yield started


@pytest.fixture
def turn(application: Application) -> Callable[[], None]:
    """Looks, as the engine does every minute."""
    return lambda: Feedback(application.runtime.engine)(NOBODY)


Stored = Callable[..., str]
Rate = Callable[..., None]
Shown = Callable[[], Json]
Turn = Callable[[], None]


def means(shown: Shown) -> dict[str, tuple[int, float]]:
    """By model, how many ratings and their mean."""
    return {one["model"]: (one["ratings"], one["mean"]) for one in shown()["models"]}


@SENT
def test_a_low_mean_raises_an_alert_once(
    rate: Rate, turn: Turn, receiver: Receiver, configure: Configure, shown: Shown
) -> None:
    """Of enough ratings, with the mean; a model that is liked is not told of."""
    configure(NAME, min_samples=4)
    rate(1, 2, 3, model="poor")
    rate(5, 4, 5, 3, 2, model="fine")
    turn()
    assert shown()["alerts"] == 0
    rate(1, model="poor")
    turn()
    turn()
    [told] = [post.body["data"] for post in receiver.of("alert.fired")]
    assert (told["source"], told["rule_name"], told["metric"]) == (NAME, "ratings of openai/poor", "mean_rating")
    assert (told["metric_value"], told["threshold"], told["details"]) == (1.75, 2.5, {"ratings": 4})
    assert told["message"] == "openai/poor: the mean of 4 ratings of the last 7d is 1.75 of 5."
    assert means(shown) == {"poor": (4, 1.75), "fine": (5, 3.8)}
    assert (shown()["alerts"], shown()["feedback"], shown()["tied"]) == (1, 9, 9)
    assert [one["judged"] for one in shown()["models"]] == [True, True]


def test_an_alert_is_quiet_until_its_cooldown_passed(
    application: Application, rate: Rate, turn: Turn, configure: Configure, shown: Shown
) -> None:
    """Further bad ratings change nothing before."""
    configure(NAME, min_samples=2, cooldown="1h")
    rate(1, 1)
    turn()
    rate(0, 0, 0)
    turn()
    assert shown()["alerts"] == 1
    with transaction(application.runtime.engine) as session:
        session.execute(update(RaisedAlert).values(raised_at=now() - timedelta(minutes=61)))
    turn()
    turn()
    assert shown()["alerts"] == 2


def test_a_model_that_recovered_is_told_of_at_once_when_it_falls_again(
    rate: Rate, turn: Turn, configure: Configure, shown: Shown
) -> None:
    """Whatever the cooldown; a mean that hovers at the threshold has not recovered."""
    configure(NAME, min_samples=2, cooldown="7d")
    rate(2, 2)
    turn()
    rate(3, 3, 3)
    turn()
    assert means(shown)["m"] == (5, 2.6)
    rate(0)
    turn()
    assert (means(shown)["m"], shown()["alerts"]) == ((6, 2.17), 1)
    rate(5, 5, 5)
    turn()
    rate(*[0] * 8)
    turn()
    turn()
    assert shown()["alerts"] == 2


@SQLITE
def test_the_best_mean_is_a_recovery(
    admin: Caller, stored: Stored, turn: Turn, configure: Configure, shown: Shown
) -> None:
    """Where none can be above the threshold by any margin."""
    configure(NAME, min_samples=1, alert_below=5, cooldown="7d")
    trace, raised = stored(), []
    for rating in (4, 5, 4):
        assert admin.post(FEEDBACK, json={"trace_id": trace, "rating": rating}).status_code == 201
        turn()
        raised.append(shown()["alerts"])
    assert raised == [1, 1, 2]


@SQLITE
@pytest.mark.parametrize(("scale", "expected"), [("stars", (3, 2.0)), ("thumbs", (4, 1.88))])
def test_ratings_are_read_on_their_scale(
    rate: Rate, configure: Configure, shown: Shown, scale: str, expected: tuple[int, float]
) -> None:
    """What belongs to the other one is left out; thumbs are shown as stars."""
    configure(NAME, scale=scale)
    rate(-1, -1, 0, 1, 5)
    assert means(shown)["m"] == expected


def test_what_counts_is_somebodys_last_rating_of_an_answer(
    admin: Caller, stored: Stored, configure: Configure, shown: Shown
) -> None:
    """Whether they name its trace or its request; another person's counts as well."""
    configure(NAME)
    trace = stored(request_id="the-request")
    for name, rating, email in [
        ({"trace_id": trace}, 0, "ada@example.com"),
        ({"request_id": "the-request"}, 5, "ada@example.com"),
        ({"request_id": trace}, 2, "bea@example.com"),
        ({"trace_id": trace}, 0, None),
        ({"trace_id": trace}, 5, None),
    ]:
        said = name | {"rating": rating} | ({"user_email": email} if email else {})
        assert admin.post(FEEDBACK, json=said).status_code == 201
    assert means(shown) == {"m": (3, 4.0)}


def test_what_names_no_answer_is_tied_to_none(
    admin: Caller, stored: Stored, rate: Rate, configure: Configure, shown: Shown
) -> None:
    """No call, one that failed or was given up, one of the gateway's own, or answers of several models."""
    configure(NAME)
    assert admin.post(FEEDBACK, json={"request_id": "none", "rating": 1}).status_code == 201
    rate(1, status="error", http_status=502)
    rate(1, http_status=499)
    rate(1, details={"for": "tr_1", "purpose": "summary"})
    rate(1, source="shadow")
    stored(request_id="raced", model="one")
    stored(request_id="raced", model="two")
    assert admin.post(FEEDBACK, json={"request_id": "raced", "rating": 1}).status_code == 201
    assert (shown()["feedback"], shown()["tied"], shown()["models"]) == (6, 0, [])
    stored(request_id="summed", model="large")
    stored(request_id="summed", model="small", details={"for": "tr_1"})
    stored(request_id="cached", model="large", status="cache_hit")
    for name in ("summed", "cached"):
        assert admin.post(FEEDBACK, json={"request_id": name, "rating": 3}).status_code == 201
    assert means(shown) == {"large": (2, 3)}


def test_a_user_rates_no_call_of_another(
    user: Caller, admin: Caller, stored: Stored, configure: Configure, shown: Shown
) -> None:
    """Nor by the name of a request that both of them gave theirs, nor of a call that was not recorded yet."""
    configure(NAME)
    mine = user.get("/api/auth/me").json()["user"]["id"]
    assert user.post(FEEDBACK, json={"trace_id": "tr_to_be", "rating": 0}).status_code == 201
    stored(id="tr_to_be", model="theirs", user_id=mine + 999)
    stored(request_id="same", model="mine", user_id=mine)
    stored(request_id="same", model="theirs", user_id=mine + 999)
    assert user.post(FEEDBACK, json={"request_id": "same", "rating": 4}).status_code == 201
    assert means(shown) == {"mine": (1, 4)}


def test_old_ratings_are_out_of_the_window(
    application: Application, rate: Rate, configure: Configure, shown: Shown
) -> None:
    """A model is judged by what it does now."""
    configure(NAME, window="2d")
    rate(0, 0, 0)
    with transaction(application.runtime.engine) as session:
        session.execute(update(TrustFeedback).values(created_at=now() - timedelta(days=2, minutes=1)))
    rate(4)
    assert means(shown) == {"m": (1, 4)}


def test_ratings_of_calls_through_the_lane_count(
    ask: Ask, user: Caller, configure: Configure, traces: Callable[..., list[Json]], turn: Turn, shown: Shown
) -> None:
    """Plain and streamed, by what the answer's headers name; the module may be switched on afterwards."""
    plain, streamed = ask(MODEL), ask(MODEL, stream=True)
    assert user.post(FEEDBACK, json={"trace_id": plain.headers["x-stockyard-trace-id"], "rating": 1}).status_code == 201
    assert user.post(FEEDBACK, json={"request_id": streamed.headers["x-request-id"], "rating": 2}).status_code == 201
    traces(2)
    turn()
    assert shown()["alerts"] == 0
    configure(NAME, min_samples=2)
    turn()
    assert (means(shown), shown()["alerts"]) == ({MODEL: (2, 1.5)}, 1)
    assert math.isclose(shown()["last_alerts"][0]["figure"], 1.5)


@SQLITE
def test_what_is_off_looks_at_nothing(rate: Rate, turn: Turn, configure: Configure, shown: Shown) -> None:
    """Ratings are stored all the same."""
    configure(NAME, enabled=False, min_samples=1)
    rate(0, 0)
    turn()
    assert (shown()["alerts"], shown()["tied"]) == (0, 2)


@SQLITE
@pytest.mark.parametrize("config", [{"alert_below": 6}, {"min_samples": 0}, {"scale": "hearts"}, {"window": "long"}])
def test_bad_settings_are_refused(admin: Caller, config: Json) -> None:
    """By the schema, before anything is stored."""
    assert admin.put(f"/api/proxy/modules/{NAME}", json={"enabled": True, "config": config}).status_code == 400
