"""Caps through the real lane: what is reserved before a call and settled after never goes over a budget."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from app.factory import Application
from app.gateway.money import nano_from_usd
from gateway.upstream import Upstream
from models.base import transaction
from support.callers import Caller, Client
from support.envelopes import Refusals
from support.together import at_once

Json = dict[str, Any]
Configure = Callable[..., None]
# The sandbox costs 1 USD for a million tokens in and 2 for a million out.
# This has room for one worst case of `ask` (0.00117) at a time, and for half of what fifty calls cost (0.00005 each).
BUDGET = 0.0013


def ask(caller: Caller, model: str = "sandbox", headers: dict[str, str] | None = None, **fields: Any) -> Any:
    """A small call."""
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20} | fields
    return caller.post("/v1/chat/completions", json=body, headers=headers or {})


class Money:
    """What the database says of money."""

    def __init__(self, application: Application) -> None:
        self._engine = application.runtime.engine

    def counters(self) -> dict[tuple[str, str, str], tuple[int, int]]:
        """Spent and reserved of each counter."""
        query = text("SELECT period, scope, ref, spent_nano, reserved_nano FROM spend_counters")
        with transaction(self._engine, write=False) as opened:
            return {(p, s, r): (spent, held) for p, s, r, spent, held in opened.execute(query)}

    def traced(self) -> int:
        """What all traces cost."""
        with transaction(self._engine, write=False) as opened:
            return int(opened.scalar(text("SELECT coalesce(sum(cost_nano), 0) FROM traces")) or 0)

    def settled(self, within: float = 5.0) -> dict[tuple[str, str, str], tuple[int, int]]:
        """The counters once nothing is reserved any more."""
        deadline = time.monotonic() + within
        found = self.counters()
        while any(held for _, held in found.values()):
            assert time.monotonic() < deadline, found
            time.sleep(0.03)
            found = self.counters()
        return found


@pytest.fixture
def money(client: Client) -> Money:
    """This test's money."""
    return Money(client.application)


def capped(configure: Configure, **config: Any) -> None:
    """Set the budgets of `costcap`."""
    configure("costcap", **config)


@pytest.mark.parametrize("stream", [False, True])
def test_fifty_calls_at_once_never_go_over(user: Caller, configure: Configure, money: Money, *, stream: bool) -> None:
    """A budget with room for few worst cases lets few through at a time, and what was spent fits whatever the order."""
    capped(configure, daily_limit_usd=BUDGET)
    answers = at_once(*[lambda: ask(user, stream=stream) for _ in range(50)])
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    [(spent, _)] = money.settled().values()
    assert 0 < spent <= nano_from_usd(BUDGET)
    assert spent == money.traced()


def test_a_spent_budget_says_what_of_and_until_when(
    client: Client, configure: Configure, refused: Refusals, money: Money
) -> None:
    """A client learns not to retry, and when it may come again; the operator, that calls are refused."""
    user = client.user
    capped(configure, daily_limit_usd=0.001_3)
    while (answer := ask(user)).status_code == 200:
        money.settled()
    error = refused(answer, 429, "rate_limited")["error"]
    details = error["details"]
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert (details["cap"], details["period"], details["scope"]) == (0.0013, "daily", "project")
    assert details["spent"] == money.traced() / 1e9 > 0
    assert details["resets_at"] == f"{midnight:%Y-%m-%dT%H:%M:%SZ}"
    assert answer.headers["x-should-retry"] == "false"
    assert abs(int(answer.headers["retry-after"]) - (midnight - datetime.now(UTC)).total_seconds()) < 3
    assert [held for _, held in money.settled().values()] == [0]
    notices = client.application.runtime.gateway.caps.notices
    notices.look()
    assert [(notice.key.scope, notice.share) for notice in notices.told][-1] == ("project", 1000)


def test_the_budget_that_lasts_longest_decides_when_to_come_again(user: Caller, configure: Configure) -> None:
    """A month that is spent is not over tomorrow."""
    capped(configure, daily_limit_usd=0.0001, monthly_limit_usd=0.0001)
    answer = ask(user)
    assert answer.json()["error"]["details"]["period"] == "monthly"
    assert "ask for fewer tokens" in answer.json()["error"]["message"]
    assert int(answer.headers["retry-after"]) > 0


def test_each_payer_is_held_to_its_own_budget(client: Client, configure: Configure, money: Money) -> None:
    """Keys, users, projects, plans, models and tags; who is not named is not held, and costs no counter."""
    user, admin = client.user, client.admin
    key = {k["name"]: k["id"] for k in admin.get("/api/auth/users/1/keys").json()["keys"]}["default"]
    tight: Json = {"daily": 0.0001, "monthly": 0, "soft": False}
    for setting, value in (
        ("projects", {"project": "p", **tight}),
        ("keys", {"key": key, **tight}),
        ("tiers", {"tier": "free", **tight}),
    ):
        capped(configure, **{setting: [value]})
        assert ask(user, headers={"x-project": "p"}).status_code == 429, setting
        assert ask(admin, headers={"x-project": "q"}).status_code == 200, setting
    configure("costcap", enabled=False, daily_limit_usd=0.0001)
    for dimension, value in (
        ("user", "1"),
        ("project", "p"),
        ("model", "sandbox"),
        ("team", "red"),
        ("feature", "search"),
        ("custom", "lane=fast"),
    ):
        configure("usagepulse", caps=[{"dimension": dimension, "key": value, **tight}])
        tags = {"x-stockyard-tags": "team=red,feature=search,lane=fast", "x-project": "p"}
        assert ask(user, headers=tags).status_code == 429, dimension
        assert ask(admin, "other", headers={"x-stockyard-tags": "team=blue"}).status_code == 200, dimension
    assert {scope for _, scope, _ in money.settled()} == {"project", "key", "user", "model", "tag"}
    assert {(scope, ref) for _, scope, ref in money.counters()} >= {("tag", "team=red"), ("tag", "lane=fast")}


def test_a_users_own_cap_stands_for_the_one_of_the_plan(client: Client, configure: Configure) -> None:
    """An operator lifts one user over the plan's budget, with effect on the next call."""
    capped(configure, tiers=[{"tier": "free", "daily": 0.0001, "monthly": 0, "soft": False}])
    assert ask(client.user).status_code == 429
    assert client.admin.put("/api/users/1/spend/cap", json={"daily_cap": 5}).status_code == 200
    assert ask(client.user).status_code == 200
    assert client.admin.put("/api/users/1/spend/cap", json={"monthly_cap": 0.0001}).status_code == 200
    assert ask(client.user).json()["error"]["details"]["period"] == "monthly"


def test_a_soft_budget_refuses_nothing_and_gives_notice_once(
    client: Client, configure: Configure, money: Money
) -> None:
    """Whoever only wants to know is told at each threshold, not with each call."""
    capped(configure, daily_limit_usd=0.00001, action="warn")
    assert [ask(client.user, content).status_code for content in ("sandbox", "sandbox-a", "sandbox-b")] == [200] * 3
    money.settled()
    notices = client.application.runtime.gateway.caps.notices
    notices.look()
    ask(client.user)
    money.settled()
    notices.look()
    assert [(notice.key.scope, notice.share) for notice in notices.told] == [("project", 1000)]
    shown = client.admin.get("/api/proxy/modules/spend").json()["stats"]
    assert shown["notices"] == 1
    assert shown["last_notices"][0]["cap"] == 0.00001


def test_failures_hits_and_unreported_usage_hold_what_they_cost(
    user: Caller, configure: Configure, money: Money, upstream: Upstream
) -> None:
    """A refused call costs nothing, an answer from the cache nothing again, one without usage our estimate."""
    capped(configure, daily_limit_usd=50)
    configure("cachelayer")
    configure("retrypilot", enabled=False)
    configure("failover", enabled=False)
    upstream.script("gpt-4o", {"status": 500}, {"usage": None}, {})
    assert [ask(user, "gpt-4o").status_code for _ in range(2)] == [502, 200]
    [(before, _)] = money.settled().values()
    assert before > 0
    assert ask(user, "gpt-4o").headers["x-stockyard-cached"] == "true"
    [(after, _)] = money.settled().values()
    assert after == before == money.traced()


def test_what_has_no_price_passes_no_hard_budget(user: Caller, configure: Configure, refused: Refusals) -> None:
    """An unknown cost is never taken for none, unless the operator says so."""
    configure("failover", enabled=False)
    capped(configure, daily_limit_usd=50)
    error = refused(ask(user, "gpt-unheard-of"), 403, "forbidden")["error"]
    assert error["details"]["reason"] == "unpriced_model"
    capped(configure, daily_limit_usd=50, unpriced="allow")
    assert ask(user, "gpt-unheard-of").status_code == 200


def test_more_than_the_worst_case_is_counted_whole(
    client: Client, configure: Configure, money: Money, upstream: Upstream
) -> None:
    """A provider that bills more than was asked for is paid; the budget closes, and the operator can see why."""
    capped(configure, daily_limit_usd=1)
    much = {"prompt_tokens": 20, "completion_tokens": 1_000_000, "total_tokens": 1_000_020}
    upstream.script("gpt-4o", {"usage": much})
    assert ask(client.user, "gpt-4o").status_code == 200
    assert client.admin.get("/api/proxy/modules/caps").json()["stats"]["beyond_worst_case"] == 1
    [(spent, _)] = money.settled().values()
    assert spent == money.traced() > nano_from_usd(1)
    assert ask(client.user, "gpt-4o").status_code == 429


def test_no_budget_no_counter_and_no_work(client: Client, money: Money, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets no budget pays nothing for there being budgets."""
    caps = client.application.runtime.gateway.caps
    monkeypatch.setattr(type(caps), "_reserve", None)
    assert ask(client.user).status_code == 200
    assert money.counters() == {}


def test_a_store_that_is_away_holds_hard_budgets_and_lets_soft_ones_pass(
    client: Client, configure: Configure, refused: Refusals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be held must not be spent; what only gives notice must not stop anybody."""
    capped(configure, daily_limit_usd=5)
    store = client.application.runtime.gateway.caps._store
    with transaction(client.application.runtime.engine) as opened:
        opened.execute(text("ALTER TABLE spend_holds RENAME TO away"))
    refused(ask(client.user), 503, "unavailable")
    capped(configure, daily_limit_usd=5, action="warn")
    assert ask(client.user).status_code == 200
    with transaction(client.application.runtime.engine) as opened:
        opened.execute(text("ALTER TABLE away RENAME TO spend_holds"))
    capped(configure, daily_limit_usd=5)
    assert ask(client.user).status_code == 200
    assert store is client.application.runtime.gateway.caps._store
