"""Cost map: the money that calls cost is in the tree to the last nano-dollar, below who and what it went to."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, insert, select

from app.factory import Application
from app.services.observing import cells, costmap
from app.services.observing.intake import Sweep
from app.services.rollups import record, store
from app.services.trace_record import TraceRecord, trace_id
from gateway.lane.conftest import Ask
from gateway.modules.conftest import MODEL
from models.base import micros, now, transaction
from models.observing import CostCell
from models.traces import SpendRollup
from support.accounts import PASSWORD, People, cookies_of, value_of
from support.callers import Caller
from support.plans import plan_of, scans
from support.together import at_once

Configure = Callable[..., None]
Json = dict[str, Any]
NOBODY: Any = None
NAME = "costmap"
DOLLAR = 1_000_000_000
SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")


@pytest.fixture
def engine(application: Application) -> Engine:
    """The test's database."""
    return application.runtime.engine


@pytest.fixture
def stored(engine: Engine) -> Callable[..., TraceRecord]:
    """Stores a call as the recorder does: `stored(cost=2, project="a")`."""

    def submit(cost: float | None = 1, days: float = 0, **fields: Any) -> TraceRecord:
        held: Json = {"request_id": "r", "operation": "chat.completion", "provider": "p", "model": "m", "status": "ok"}
        held |= {"tokens_in": 10, "tokens_out": 5, "created_at": micros(now() - timedelta(days=days))}
        held |= {"cost_nano": None if cost is None else round(cost * DOLLAR)} | fields
        row = TraceRecord(id=trace_id(), **held)
        store(engine, [row])
        return row

    return submit


@pytest.fixture
def shown(admin: Caller) -> Callable[[], Json]:
    """The tree, as an operator reads it."""
    return lambda: dict(admin.get(f"/api/proxy/modules/{NAME}").json()["stats"])


Stored = Callable[..., TraceRecord]
Shown = Callable[[], Json]


def branches(node: Json) -> Any:
    """A tree as names and dollars: `{"a": (3, {"m": 3})}`."""
    below = {child["name"]: branches(child) for child in node.get("children", ())}
    return (node["cost_usd"], below) if below else node["cost_usd"]


def kept(engine: Engine) -> int:
    """How many cells there are."""
    with transaction(engine, write=False) as session:
        return session.scalar(select(func.count()).select_from(CostCell)) or 0


def test_money_is_below_whom_it_went_to(stored: Stored, configure: Configure, shown: Shown) -> None:
    """Level by level, the largest first, each with its share; what has no feature is below nothing's name."""
    configure(NAME)
    stored(3, project="shop", tags={"feature": "search"}, model="large")
    stored(1, project="shop", tags={"feature": "search"}, model="small")
    stored(2, project="shop", model="small")
    stored(2, project="desk", tags={"feature": "mail"}, model="small")
    tree = shown()
    desk, shop = {"mail": (2, {"small": 2})}, {"search": (4, {"large": 3, "small": 1}), None: (2, {"small": 2})}
    assert branches(tree) == (8, {"shop": (6, shop), "desk": (2, desk)})
    assert (tree["calls"], tree["tokens"], tree["unpriced"], tree["group_by"]) == (4, 60, 0, [*LEVELS])
    assert [(child["level"], child["name"], child["share"]) for child in tree["children"]] == [
        ("project", "shop", 0.75),
        ("project", "desk", 0.25),
    ]


LEVELS = ("project", "feature", "model")


def test_levels_are_what_the_operator_chose_of_calls_stored_before(
    stored: Stored, configure: Configure, shown: Shown, user: Caller
) -> None:
    """In any order; a user is a number, as everywhere."""
    mine = user.get("/api/auth/me").json()["user"]["id"]
    configure(NAME)
    stored(1, user_id=mine, details={"template": "greet"}, model="a")
    stored(4, user_id=mine, model="b")
    stored(2, model="a")
    configure(NAME, group_by=["user", "template"])
    assert branches(shown()) == (7, {str(mine): (5, {None: 4, "greet": 1}), None: (2, {None: 2})})
    configure(NAME, group_by=["model"])
    assert branches(shown()) == (7, {"b": 4, "a": 3})
    configure(NAME, group_by=[])
    assert branches(shown()) == 7


def test_the_tree_comes_to_what_was_spent(stored: Stored, configure: Configure, shown: Shown, engine: Engine) -> None:
    """As the rollups have it: the gateway's own calls included; a call whose price is not known is told of."""
    configure(NAME, group_by=["model", "user"])
    for row in range(30):
        stored(0.000001 * row, model=f"m{row % 7}", source="real" if row % 3 else "shadow", project=f"p{row % 2}")
    stored(None, model="unheard")
    stored(0, model="free", status="cache_hit")
    with transaction(engine, write=False) as session:
        spent = session.scalar(select(func.sum(SpendRollup.cost_nano)).where(SpendRollup.scope == "project"))
    tree = shown()
    assert round(tree["cost_usd"] * DOLLAR) == spent
    assert (tree["calls"], tree["unpriced"]) == (30, 1)
    assert sum(round(child["cost_usd"] * DOLLAR) for child in tree["children"]) == spent
    assert "free" not in {child["name"] for child in tree["children"]}


def test_only_the_window_counts_and_old_cells_are_forgotten(
    stored: Stored, configure: Configure, shown: Shown, engine: Engine
) -> None:
    """Whole days, today included."""
    configure(NAME, group_by=["model"], window="7d")
    for days, model in [(0, "today"), (6, "within"), (7, "before"), (89, "kept"), (90, "old")]:
        stored(1, days, model=model)
    assert set(branches(shown())[1]) == {"today", "within"}
    assert shown()["since"] == (now() - timedelta(days=6)).date().isoformat()
    Sweep(engine)(NOBODY)
    assert kept(engine) == 4
    configure(NAME, group_by=["model"], window="3650d")
    assert set(branches(shown())[1]) == {"today", "within", "before", "kept"}


@SQLITE
def test_what_is_off_keeps_nothing(stored: Stored, configure: Configure, shown: Shown, engine: Engine) -> None:
    """Nor does it look back when it is switched on."""
    stored(1)
    configure(NAME, enabled=False)
    stored(1)
    assert kept(engine) == 0
    configure(NAME)
    assert (shown()["calls"], "children" in shown()) == (0, False)


def test_a_call_is_counted_once(stored: Stored, configure: Configure, shown: Shown, engine: Engine) -> None:
    """However often its line is stored, and whoever else stores calls at that moment."""
    configure(NAME)
    row = stored(1)
    store(engine, [row])
    rows = [row._replace(id=trace_id(), project=f"p{at % 3}") for at in range(40)]
    at_once(*(lambda: store(engine, rows) for _ in range(3)))
    assert (shown()["calls"], shown()["cost_usd"]) == (41, 41)


def test_too_many_names_are_one_branch(
    stored: Stored, configure: Configure, shown: Shown, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers name projects and features; none of their money is lost, and what was known goes on."""
    monkeypatch.setattr(cells, "MOST_CELLS", 5)
    configure(NAME, group_by=["project"])
    for at in range(9):
        stored(1, project=f"p{at}")
    stored(3, project="p0")
    assert kept(engine) == 6
    assert branches(shown()) == (12, {"p0": 4, "p1": 1, "p2": 1, "p3": 1, "p4": 1, "(other)": 4})


@SQLITE
def test_the_tree_is_bounded_and_comes_to_the_whole(
    configure: Configure, shown: Shown, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest branches are shown, the others summed up; of leaves as well as of what is read."""
    configure(NAME, group_by=["user", "project", "model"])
    fill(engine, days=3, users=200)
    monkeypatch.setattr(costmap, "MOST_LEAVES", 400)
    monkeypatch.setattr(costmap, "MOST_NODES", 50)
    tree = shown()
    assert (len(tree["children"]), tree["children"][-1]["name"]) == (21, "(other)")
    assert 50 <= nodes(tree) <= 50 + costmap.MOST_CHILDREN
    assert sound(tree)
    with transaction(engine, write=False) as session:
        assert session.scalar(select(func.sum(CostCell.cost_nano))) == round(tree["cost_usd"] * DOLLAR)
    costs = [child["cost_usd"] for child in tree["children"][:-1]]
    assert costs == sorted(costs, reverse=True)


def nodes(node: Json) -> int:
    """How many branches a tree has."""
    return 1 + sum(map(nodes, node.get("children", ())))


def sound(node: Json) -> bool:
    """Whether every branch comes to what is below it."""
    below = node.get("children")
    if below is None:
        return True
    sums = [sum(round(child[name] * DOLLAR) for child in below) for name in ("cost_usd", "calls", "tokens")]
    return sums == [round(node[name] * DOLLAR) for name in ("cost_usd", "calls", "tokens")] and all(map(sound, below))


def fill(engine: Engine, days: int, users: int) -> None:
    """Cells of so many days: a project for each three users, five models."""
    today = cells.day_of(now())
    with transaction(engine) as session:
        for day in range(days):
            rows = [
                {"day": today - day, "project": f"p{user % 3}", "feature": "", "template": "", "model": f"m{model}"}
                | {"user_id": user, "calls": 1, "unpriced": 0, "tokens": 7, "cost_nano": user * 1000 + model}
                for user in range(1, users + 1)
                for model in range(5)
            ]
            session.execute(insert(CostCell), rows)


def test_a_full_map_is_read_at_once_by_its_days(configure: Configure, shown: Shown, engine: Engine) -> None:
    """As many cells as are ever kept are read in a moment, however many calls they count: none is looked at."""
    configure(NAME, window="30d", group_by=["project", "user", "model"])
    fill(engine, days=cells.KEPT_DAYS, users=cells.MOST_CELLS // 5)
    began = time.monotonic()
    assert shown()["calls"] == 30 * cells.MOST_CELLS
    assert time.monotonic() - began < 3
    plan = plan_of(engine, costmap.leaves(["project"], cells.day_of(now()) - 1))
    assert not scans(plan, "cost_cells")
    assert "traces" not in plan


def test_calls_through_the_lane_are_in_it(
    ask: Ask, configure: Configure, traces: Callable[..., list[Json]], shown: Shown
) -> None:
    """Plain and streamed, with their feature's tag and their template."""
    configure("promptpad", templates=[{"name": "greet", "content": "Be kind."}])
    configure(NAME, group_by=["template", "feature", "model"])
    headers = {"x-stockyard-tags": "feature=mail", "x-template": "greet"}
    for stream in (False, True):
        ask(MODEL, stream=stream, headers=headers)
    rows = traces(2)
    [template] = shown()["children"]
    assert (template["name"], template["calls"]) == ("greet", 2)
    assert [below["name"] for below in template["children"]] == ["mail"]
    assert round(template["cost_usd"] * DOLLAR) == sum(row["cost_nano"] for row in rows) > 0


def test_a_user_who_goes_leaves_sums_and_no_number(people: People, configure: Configure, stored: Stored) -> None:
    """Also when some of their calls are being stored at that moment, or are stored after they are gone."""
    configure(NAME)
    user = people.make()
    here = people.by_cookie(value_of(cookies_of(people.login())["outsend_session"]))
    row = stored(2, user_id=user.id)
    stored(1)
    with ThreadPoolExecutor(1) as pool:
        with transaction(people.engine) as session:
            record(session, [row._replace(id=trace_id(), model="other")])
            gone = pool.submit(here.request, "DELETE", "/api/auth/account", json={"password": PASSWORD})
            time.sleep(0.5)
        assert gone.result().status_code == 204
    stored(1, user_id=user.id)
    with transaction(people.engine, write=False) as session:
        found = session.scalars(select(CostCell).order_by(CostCell.model)).all()
    assert [(cell.user_id, cell.calls, cell.cost_nano) for cell in found] == [(0, 3, 4 * DOLLAR), (0, 1, 2 * DOLLAR)]


@SQLITE
@pytest.mark.parametrize("config", [{"group_by": ["team"]}, {"group_by": ["user", "user"]}, {"window": "long"}])
def test_bad_settings_are_refused(admin: Caller, config: Json) -> None:
    """By the schema, before anything is stored."""
    assert admin.put(f"/api/proxy/modules/{NAME}", json={"enabled": True, "config": config}).status_code == 400
