"""Prompt ranking: each text of a template is judged by the ratings of its own answers, and by enough of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, update

from app.factory import Application
from app.gateway.modules.promptpad import version_of
from app.services.observing import promptrank
from app.services.rollups import store
from app.services.trace_record import TraceRecord, trace_id
from gateway.lane.conftest import Ask
from gateway.modules.conftest import MODEL
from models.base import micros, now, transaction
from models.trust import TrustFeedback
from support.callers import Caller
from support.plans import plan_of, scans

Configure = Callable[..., None]
Json = dict[str, Any]
NAME, FEEDBACK = "promptrank", "/api/trust/feedback"
SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")


@pytest.fixture
def engine(application: Application) -> Engine:
    """The test's database."""
    return application.runtime.engine


@pytest.fixture
def rate(admin: Caller, engine: Engine) -> Callable[..., None]:
    """Rates calls that a text of a template led to, each another: `rate("greet", "Be kind.", 5, 4)`."""

    def submit(template: str, content: str, *ratings: int, **fields: Any) -> None:
        details = {"template": template, "template_version": version_of(content)}
        for rating in ratings:
            held: Json = {"request_id": "r", "operation": "chat", "provider": "p", "model": "m", "status": "ok"}
            held |= {"created_at": micros(now()), "details": details, "id": trace_id()}
            row = TraceRecord(**(held | fields))
            store(engine, [row])
            assert admin.post(FEEDBACK, json={"trace_id": row.id, "rating": rating}).status_code == 201

    return submit


@pytest.fixture
def shown(admin: Caller) -> Callable[[], Json]:
    """The module's statistics, as an operator reads them."""
    return lambda: dict(admin.get(f"/api/proxy/modules/{NAME}").json()["stats"])


Rate = Callable[..., None]
Shown = Callable[[], Json]


def ranks(shown: Shown) -> list[tuple[Any, ...]]:
    """Template, version, rank, ratings and mean."""
    return [
        tuple(row[name] for name in ("template", "version", "rank", "ratings", "mean")) for row in shown()["versions"]
    ]


def test_the_best_rated_version_comes_first(rate: Rate, configure: Configure, shown: Shown) -> None:
    """Template by template; one with too few ratings is told of, and has no rank."""
    configure(NAME, min_samples=2)
    rate("greet", "Be kind.", 3, 4)
    rate("greet", "Be brief.", 5, 4, 3)
    rate("greet", "Be new.", 5)
    rate("bye", "Go.", 1, 2)
    kind, brief, new, go = map(version_of, ("Be kind.", "Be brief.", "Be new.", "Go."))
    assert ranks(shown) == [
        ("bye", go, 1, 2, 1.5),
        ("greet", brief, 1, 3, 4),
        ("greet", kind, 2, 2, 3.5),
        ("greet", new, None, 1, 5),
    ]


def test_it_tells_which_versions_are_in_use(rate: Rate, configure: Configure, shown: Shown) -> None:
    """By how they begin; the text of one that was given up is nobody's any more."""
    configure("promptpad", templates=[{"name": "greet", "content": "Be kind. " * 50}])
    configure(NAME)
    rate("greet", "Be kind. " * 50, 4)
    rate("greet", "Be rude.", 1)
    rows = {row["version"]: (row["in_use"], row["begins"]) for row in shown()["versions"]}
    assert rows[version_of("Be rude.")] == (False, None)
    assert rows[version_of("Be kind. " * 50)] == (True, ("Be kind. " * 50)[: promptrank.BEGINNING])


def test_what_counts_is_somebodys_last_rating_of_the_window(
    rate: Rate, admin: Caller, engine: Engine, configure: Configure, shown: Shown
) -> None:
    """On the scale of the house; of an answer that no template led to, none."""
    configure("feedbackloop", enabled=False, scale="thumbs")
    configure(NAME, min_samples=1, window="2d")
    rate("greet", "Old.", 1)
    with transaction(engine) as session:
        session.execute(update(TrustFeedback).values(created_at=now() - timedelta(days=2, minutes=1)))
    rate("greet", "New.", 0, 1, id="tr_" + "1" * 32)
    rate("greet", "New.", -1)
    rate("greet", "New.", 1, status="error", http_status=502)
    rate("none", "None.", 1, details={})
    assert ranks(shown) == [("greet", version_of("New."), 1, 2, 2.5)]


def test_calls_through_the_lane_are_ranked_by_the_text_they_were_given(
    ask: Ask, user: Caller, configure: Configure, traces: Callable[..., list[Json]], shown: Shown
) -> None:
    """Plain and streamed; a text that is changed under its name is another version."""
    configure(NAME, min_samples=1)
    for content, stream, rating in (("Be kind.", False, 2), ("Be brief, {{who}}.", True, 5)):
        configure("promptpad", templates=[{"name": "greet", "content": content}])
        answer = ask(MODEL, stream=stream, headers={"x-template": "greet", "x-template-vars": "who=Ada"})
        said = {"trace_id": answer.headers["x-stockyard-trace-id"], "rating": rating}
        assert user.post(FEEDBACK, json=said).status_code == 201
    traces(2)
    kind, brief = version_of("Be kind."), version_of("Be brief, {{who}}.")
    assert ranks(shown) == [("greet", brief, 1, 1, 5), ("greet", kind, 2, 1, 2)]


@SQLITE
def test_what_is_off_says_nothing(rate: Rate, configure: Configure, shown: Shown) -> None:
    """And there is nothing to say of prompts nobody rated."""
    configure(NAME)
    assert shown() == {"versions": []}
    rate("greet", "Be kind.", 4)
    configure(NAME, enabled=False)
    assert shown() == {}


@SQLITE
def test_the_versions_shown_are_those_rated_most(
    rate: Rate, configure: Configure, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be no end of them."""
    monkeypatch.setattr(promptrank, "MOST_VERSIONS", 2)
    configure(NAME)
    for at in range(4):
        rate("greet", f"Say {at}.", *[5] * (at + 1))
    assert [row["ratings"] for row in shown()["versions"]] == [4, 3]


def test_many_stored_calls_are_not_looked_through(engine: Engine) -> None:
    """Ratings find their calls by index."""
    base: Json = {"operation": "chat", "provider": "p", "model": "m", "status": "ok", "created_at": micros(now())}
    calls = [TraceRecord(trace_id(), request_id=f"r{at}", **base) for at in range(20_000)]
    store(engine, calls)
    with transaction(engine) as session:
        session.add_all(TrustFeedback(request_id=call.id, rating=4) for call in calls[:100])
    assert not scans(plan_of(engine, promptrank.versions(now() - timedelta(minutes=5), "stars")), "traces")


@SQLITE
@pytest.mark.parametrize("config", [{"min_samples": 0}, {"window": "long"}, {"scale": "stars"}])
def test_bad_settings_are_refused(admin: Caller, config: Json) -> None:
    """By the schema, before anything is stored."""
    assert admin.put(f"/api/proxy/modules/{NAME}", json={"enabled": True, "config": config}).status_code == 400
