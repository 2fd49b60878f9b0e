"""Cohorts: each user is in one group, and in each step's count once if they called in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update

from app.engine import Context
from app.factory import Application
from app.services.observing import cohorts, groups
from app.services.observing.cells import day_of
from app.services.observing.steps import STEPS
from app.services.rollups import store
from app.services.trace_record import TraceRecord, trace_id
from gateway.lane.conftest import Ask
from gateway.modules.conftest import MODEL
from models.base import EPOCH, micros, now, transaction
from models.identity import User
from models.observing import CohortMember, CohortView
from models.traces import SpendRollup
from support.accounts import PASSWORD, People, cookies_of, value_of
from support.callers import Caller
from support.plans import plan_of, scans

Configure = Callable[..., None]
Json = dict[str, Any]
NAME = "cohorttrack"
SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")


@pytest.fixture
def engine(application: Application) -> Engine:
    """The test's database."""
    return application.runtime.engine


@pytest.fixture
def called(engine: Engine) -> Callable[..., None]:
    """Stores a user's calls of so many days ago: `called(7, 0, 1, project="a")`."""

    def submit(user: int | None, *days: int, **fields: Any) -> None:
        held: Json = {"request_id": "r", "operation": "chat", "provider": "p", "model": "m", "status": "ok"}
        held |= {"user_id": user, "cost_nano": 5} | fields
        store(engine, [TraceRecord(id=trace_id(), created_at=micros(now() - timedelta(days=d)), **held) for d in days])

    return submit


@pytest.fixture
def turn(engine: Engine) -> Callable[..., None]:
    """Works cohorts out, an hour later than before."""

    def run(*, later: bool = True) -> None:
        if later:
            with transaction(engine) as session:
                session.execute(update(CohortView).values(made_at=now() - timedelta(minutes=61)))
        cohorts.Turn(engine, pause_s=0)(Context(NAME, threading.Event(), lambda: False, lambda _, step: step()))

    return run


@pytest.fixture
def shown(admin: Caller) -> Callable[[], Json]:
    """The module's statistics, as an operator reads them."""
    return lambda: dict(admin.get(f"/api/proxy/modules/{NAME}").json()["stats"])


Called = Callable[..., None]
Turn = Callable[..., None]
Shown = Callable[[], Json]


def ago(days: int) -> str:
    """The day so long ago."""
    return (now() - timedelta(days=days)).date().isoformat()


def came(shown: Shown) -> dict[str | None, tuple[int, list[int]]]:
    """Of each group its users, and how many called in each step."""
    return {group["group"]: (group["users"], [at["users"] for at in group["steps"]]) for group in shown()["groups"]}


def test_users_are_followed_from_the_step_of_their_first_call(
    called: Called, turn: Turn, configure: Configure, shown: Shown
) -> None:
    """Each once in a step, however often they called; nobody's calls are in no group."""
    configure(NAME, period="day")
    called(1, 3, 3, 1, 0)
    called(2, 3, 2, 2)
    called(3, 0, 0)
    called(None, 3, 2, 1, 0)
    turn()
    assert came(shown) == {ago(3): (2, [2, 1, 1, 1]), ago(0): (1, [1])}
    first = shown()["groups"][0]["steps"]
    assert [(at["from"], at["share"], at["calls"]) for at in first] == [
        (ago(3), 1, 3),
        (ago(2), 0.5, 2),
        (ago(1), 0.5, 1),
        (ago(0), 0.5, 1),
    ]
    assert (shown()["period"], shown()["group_by"]) == ("day", "first_seen")
    assert shown()["made_at"].startswith(now().date().isoformat())


@SQLITE
@pytest.mark.parametrize("period", ["week", "month"])
def test_weeks_and_months_are_those_of_the_calendar(
    called: Called, turn: Turn, configure: Configure, shown: Shown, period: str
) -> None:
    """The views are there for each length at once; the last step is not over yet."""
    configure(NAME)
    called(1, 40, 3, 0)
    turn()
    configure(NAME, period=period)
    [group] = shown()["groups"]
    begin = date.fromisoformat(group["group"])
    first = now().date() - timedelta(days=40)
    monday = first - timedelta(days=first.weekday())
    assert begin == (monday if period == "week" else first.replace(day=1))
    assert all(date.fromisoformat(at["from"]).weekday() == 0 or period == "month" for at in group["steps"])
    assert (group["steps"][0]["users"], group["steps"][-1]["users"]) == (1, 1)
    assert sum(at["calls"] for at in group["steps"]) == 3


@pytest.mark.parametrize("day", [0, 3, 4, 58, 59, 365, 11_016, 20_000])
def test_a_step_holds_the_days_from_its_begin(day: int) -> None:
    """Also over leap days and years."""
    for step in STEPS.values():
        at, moment = step.of(day), EPOCH.date() + timedelta(days=day)
        assert step.begins(at) <= moment < step.begins(at + 1)
        assert step.of((step.begins(at) - EPOCH.date()).days) == at


def test_who_was_there_before_is_one_group(called: Called, turn: Turn, configure: Configure, shown: Shown) -> None:
    """Of calls long before the module was on, and whose traces are gone."""
    called(1, 400, 0)
    called(2, 31, 30)
    called(3, 29)
    configure(NAME, period="day")
    turn()
    found = came(shown)
    assert list(found) == [groups.EARLIER, ago(29)]
    assert found[groups.EARLIER] == (2, [*[0] * 29, 1])
    assert found[ago(29)] == (1, [1, *[0] * 29])


def test_users_are_grouped_by_plan_and_by_project(
    called: Called, turn: Turn, configure: Configure, shown: Shown, people: People, engine: Engine
) -> None:
    """By the plan they have now, and by the project of their first call, whatever came after."""
    ada, bea = people.make(tier="pro"), people.make("bea@example.com", tier="team")
    called(ada.id, 2, project="shop")
    called(ada.id, 0, project="desk")
    called(bea.id, 1, project="desk")
    called(9_999, 1, project="desk")
    configure(NAME, period="day", group_by="project")
    turn()
    assert {name: users for name, (users, _) in came(shown).items()} == {"shop": 1, "desk": 1, None: 1}
    with transaction(engine) as session:
        session.execute(update(User).where(User.id == bea.id).values(tier="pro"))
    turn()
    configure(NAME, period="day", group_by="plan")
    assert came(shown)["pro"] == (2, [*[0] * 27, 1, 1, 1])
    assert came(shown)[None][0] == 1


@SQLITE
def test_too_many_projects_are_one_group(
    called: Called, turn: Turn, configure: Configure, shown: Shown, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The smallest of them, in sum; users are looked at a page at a time."""
    monkeypatch.setattr(groups, "MOST_GROUPS", 2)
    monkeypatch.setattr(cohorts, "PAGE", 2)
    configure(NAME, period="day", group_by="project")
    for at, project in enumerate("aaabbcd"):
        called(people.make(f"u{at}@example.com").id, 0, project=project)
    turn()
    assert {name: users for name, (users, _) in came(shown).items()} == {"a": 3, "b": 2, "(other)": 2}
    assert [group["steps"][-1]["calls"] for group in shown()["groups"]] == [3, 2, 2]


def test_they_are_worked_out_again_once_they_are_old(
    called: Called, turn: Turn, configure: Configure, shown: Shown
) -> None:
    """And not before: who asks pays nothing for it. Late calls count where they belong."""
    configure(NAME, period="day")
    turn()
    assert shown()["made_at"] is None  # nobody called: that is looked for again soon
    called(1, 0)
    turn(later=False)
    called(1, 1)
    turn(later=False)
    assert came(shown) == {ago(0): (1, [1])}
    turn()
    assert came(shown) == {ago(1): (1, [1, 1])}


def test_what_is_off_keeps_nothing(
    called: Called, turn: Turn, configure: Configure, shown: Shown, people: People, engine: Engine
) -> None:
    """And is complete as soon as it is on again."""
    called(people.make().id, 3)
    turn()
    configure(NAME, period="day")
    turn()
    configure(NAME, enabled=False, period="day")
    called(1, 2)
    turn()
    with transaction(engine, write=False) as session:
        assert [session.scalar(select(func.count()).select_from(t)) for t in (CohortView, CohortMember)] == [0, 0]
    assert (shown()["made_at"], shown()["groups"]) == (None, [])
    configure(NAME, period="day")
    turn()
    assert [users for users, _ in came(shown).values()] == [1, 1]


def test_a_user_who_goes_is_a_number_in_a_count(
    called: Called, turn: Turn, configure: Configure, shown: Shown, people: People, engine: Engine
) -> None:
    """Nothing tells which project was theirs, though the erasure comes while groups are made."""
    configure(NAME, period="day", group_by="project")
    user = people.make()
    called(user.id, 1, project="shop")
    with transaction(engine, write=False) as session:
        _, fresh = cohorts.used(session, [str(user.id)])
    here = people.by_cookie(value_of(cookies_of(people.login())["outsend_session"]))
    assert here.request("DELETE", "/api/auth/account", json={"password": PASSWORD}).status_code == 204
    with transaction(engine) as session:
        assert fresh == {user.id: "shop"}
        cohorts.note(session, fresh)
    turn()
    assert came(shown) == {None: (1, [*[0] * 28, 1, 0])}
    with transaction(engine, write=False) as session:
        assert session.scalar(select(func.count()).select_from(CohortMember)) == 0


def test_calls_through_the_lane_are_followed(
    ask: Ask, user: Caller, configure: Configure, traces: Callable[..., list[Json]], turn: Turn, shown: Shown
) -> None:
    """Plain and streamed."""
    configure(NAME, period="day", group_by="project")
    for stream in (False, True):
        ask(MODEL, stream=stream, headers={"x-project": "shop"})
    traces(2)
    turn()
    [group] = shown()["groups"]
    assert (group["group"], group["users"], group["steps"][-1]["calls"]) == ("shop", 1, 2)


def test_ten_thousands_of_sums_are_read_by_index(
    engine: Engine, turn: Turn, configure: Configure, shown: Shown
) -> None:
    """No call is looked at, and whoever asks reads one row."""
    today, sums = day_of(now()), {"requests": 1, "unpriced": 0, "tokens_in": 1, "tokens_out": 1, "cost_nano": 1}
    with transaction(engine) as session:
        for user in range(1, 601):
            mine = {"scope": "user", "ref": str(user), "model": "m"} | sums
            days = [mine | {"day": today - day} for day in range(50)]
            session.execute(SpendRollup.__table__.insert(), days)
    configure(NAME)
    turn()
    assert [group["users"] for group in shown()["groups"]] == [600]
    for asked in (cohorts.page("5"), cohorts.days(["5", "6"])):
        plan = plan_of(engine, asked)
        assert not scans(plan, "spend_rollups")
        assert "traces" not in plan
    began = time.monotonic()
    assert shown()["groups"]
    assert time.monotonic() - began < 1


@SQLITE
@pytest.mark.parametrize("config", [{"period": "year"}, {"group_by": "team"}, {"weeks": 3}])
def test_bad_settings_are_refused(admin: Caller, config: Json) -> None:
    """By the schema, before anything is stored."""
    assert admin.put(f"/api/proxy/modules/{NAME}", json={"enabled": True, "config": config}).status_code == 400
