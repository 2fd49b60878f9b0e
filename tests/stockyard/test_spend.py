"""Spend over HTTP: what is shown is what the traces add up to, and a cap is what was set."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from sqlalchemy import text

from app.cli import group
from app.gateway.money import nano_from_usd
from app.services.spending import reports
from app.settings import Settings
from models.base import transaction
from support.callers import Caller, Client
from support.envelopes import Refusals
from support.people import Person, Promised

Json = dict[str, Any]


def today() -> datetime:
    """The present moment: a suite that runs past midnight must not call yesterday today."""
    return datetime.now(UTC)


def add(admin: Caller, moment: datetime, **fields: Any) -> None:
    """Record a trace of that moment."""
    body = {"operation": "chat", "provider": "p", "model": "m", "created_at": moment.isoformat()} | fields
    assert admin.post("/api/observe/traces", json=body).status_code == 201


@pytest.fixture
def traffic(admin: Caller) -> datetime:
    """Two calls today, one on the first of the month, one in the month before; the moment of the last."""
    before = today().replace(day=1) - timedelta(days=1)
    add(admin, today(), cost_usd=1.5, tokens_in=10, tokens_out=4, user_id=1, tags={"team": "red"})
    add(admin, today(), user_id=1, project="other")
    add(admin, today().replace(day=1, hour=0, minute=0, second=1), cost_usd=0.25, user_id=1, tokens_in=1)
    add(admin, before, cost_usd=100, user_id=1, project="other", tags={"team": "red"})
    return before


def test_the_present_day_and_month_are_summed_up(admin: Caller, traffic: datetime, promised: Promised) -> None:
    """By project, by team and by user; last month is over, and an unknown price is no amount."""
    first = 0.25 if today().day == 1 else 0.0
    shown = promised(admin.get("/api/spend"))
    assert shown["projects"] == {
        "default": {"today": 1.5 + first, "month": 1.75},
        "other": {"today": 0.0, "month": 0.0},
    }
    assert shown["total"] == shown["projects"]["default"]
    team = promised(admin.get("/api/spend", params={"team_id": "red"}))
    assert team == {"team_id": "red", "today": 1.5, "month": 1.5, "tokens_in": 10, "tokens_out": 4}
    user = promised(admin.get("/api/users/1/spend"))
    assert user == {"user_id": "1", "today": 1.5 + first, "month": 1.75, "tokens_in": 11, "tokens_out": 4}


def test_history_is_newest_first_and_only_as_long_as_asked(
    admin: Caller, traffic: datetime, promised: Promised
) -> None:
    """A row says which day, how many calls, and how many of them have no price."""
    shown = promised(admin.get("/api/spend/history", params={"days": 365}))["daily"]
    assert [row["date"] for row in shown] == sorted((row["date"] for row in shown), reverse=True)
    assert (shown[0]["project"], shown[0]["date"]) == ("default", today().date().isoformat())
    assert shown[-1]["date"] == traffic.date().isoformat()
    assert sum(row["total_cost"] for row in shown) == 101.75
    other = promised(admin.get("/api/spend/history", params={"days": 1, "project": "other"}))["daily"]
    assert [(row["total_requests"], row["total_cost"], row["unpriced_requests"]) for row in other] == [(1, 0.0, 1)]
    mine = promised(admin.get("/api/users/1/spend/history", params={"days": 1}))["daily"]
    assert [(row["user_id"], row["total_requests"]) for row in mine] == [("1", 3 if today().day == 1 else 2)]


def test_many_projects_are_summed_up_in_the_end(
    admin: Caller, promised: Promised, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers name projects: whoever invents thousands does not make the answer endless, nor the sum wrong."""
    monkeypatch.setattr(reports, "MOST_PROJECTS", 3)
    monkeypatch.setattr(reports, "MOST_IN_HISTORY", 2)
    for number in range(5):
        add(admin, today(), cost_usd=number + 1, project=f"p{number}")
    shown = promised(admin.get("/api/spend"))
    assert {name: sums["today"] for name, sums in shown["projects"].items()} == {"p4": 5.0, "p3": 4.0, "(other)": 6.0}
    assert shown["total"]["month"] == 15.0
    rows = promised(admin.get("/api/spend/history"))["daily"]
    assert [(row["project"], row["total_cost"], row["total_requests"]) for row in rows] == [
        ("p3", 4.0, 1),
        ("p4", 5.0, 1),
        ("(other)", 6.0, 3),
    ]


def test_a_user_sees_their_own_spend_only(client: Client, ada: Person, promised: Promised, refused: Refusals) -> None:
    """Not even whether another user is there; an operator sees zeros for nobody."""
    assert promised(ada.caller.get(f"/api/users/{ada.id}/spend"))["today"] == 0.0
    refused(ada.caller.get("/api/users/1/spend"), 404, "not_found")
    refused(ada.caller.get(f"/api/users/{ada.id}/spend/cap"), 403, "forbidden")
    assert promised(client.admin.get("/api/users/nobody.at-all/spend")) == {
        "user_id": "nobody.at-all",
        "today": 0.0,
        "month": 0.0,
        "tokens_in": 0,
        "tokens_out": 0,
    }


def test_a_cap_is_read_back_as_it_was_set(admin: Caller, promised: Promised, refused: Refusals) -> None:
    """Replaced whole; what is out of range or unknown changes nothing; the smallest cap is no lack of one."""
    path = "/api/users/1/spend/cap"
    unset = promised(admin.get(path))
    assert unset == {
        "user_id": "1",
        "tier": "free",
        "daily_cap": 0.0,
        "monthly_cap": 0.0,
        "soft_cap": False,
        "configured": False,
    }
    put = {"daily_cap": 0.000_000_000_1, "monthly_cap": 12.345678901, "soft_cap": True}
    assert promised(admin.put(path, json=put)) == {"status": "updated"}
    shown = promised(admin.get(path))
    assert (shown["daily_cap"], shown["monthly_cap"], shown["soft_cap"]) == (1e-9, 12.345678901, True)
    for wrong in ({"daily_cap": 1_000_000.01}, {"monthly_cap": -1}, {"soft_cap": 1}, {"weekly_cap": 1}, []):
        refused(admin.put(path, json=wrong), 400, "bad_request")
    assert promised(admin.get(path)) == shown
    promised(admin.put(path, json={}))
    assert promised(admin.get(path)) == unset | {"configured": True}
    for nobody in ("99", "ada", "01", "9" * 30):
        refused(admin.put(f"/api/users/{nobody}/spend/cap", json={}), 404, "not_found")
        assert promised(admin.get(f"/api/users/{nobody}/spend/cap"))["configured"] is False


Command = Callable[..., tuple[int, Json]]


@pytest.fixture
def reconcile(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command beside the server: its exit code, and what it says in JSON."""
    if settings.database_url:
        monkeypatch.setenv("YARDMASTER_DATABASE_URL", settings.database_url)

    def run(*options: str) -> tuple[int, Json]:
        arguments = ["--data", str(settings.data), "spend", "reconcile", *options]
        done = CliRunner().invoke(group, [*arguments, "--json"], obj={})
        said = CliRunner().invoke(group, arguments, obj={}) if "--repair" not in options else None
        assert said is None or f"{len(orjson.loads(done.stdout)['differences'])} differences" in said.stdout.replace(
            "every amount is what it should be", "0 differences"
        )
        return done.exit_code, orjson.loads(done.stdout)

    return run


def test_the_command_finds_and_repairs_what_is_wrong(client: Client, reconcile: Command, traffic: datetime) -> None:
    """A counter, a reserve and a rollup that somebody spoilt; and it changes something only when asked to."""
    admin, engine = client.admin, client.application.runtime.engine
    assert admin.put("/api/users/1/spend/cap", json={"daily_cap": 1000}).status_code == 200
    body = {"model": "sandbox", "messages": [{"role": "user", "content": "hello"}]}
    assert client.user.post("/v1/chat/completions", json=body).status_code == 200
    while admin.get("/api/spend").json()["total"]["today"] == 1.5:
        time.sleep(0.02)
    day = nano_from_usd(admin.get("/api/users/1/spend").json()["today"])
    code, told = reconcile()
    assert (code, told["counters"], told["repaired"], told["differences"]) == (0, 1, False, [])
    assert told["days"] > 0
    with transaction(engine) as opened:
        opened.execute(text("UPDATE spend_counters SET spent_nano = spent_nano + 4000000000, reserved_nano = 7"))
        spoilt = "UPDATE spend_rollups SET cost_nano = cost_nano + 1000000000 WHERE scope = 'user' AND model = 'm' "
        opened.execute(text(spoilt + "AND day = (SELECT max(day) FROM spend_rollups)"))  # noqa: S608 (no input)
    code, told = reconcile()
    amounts = {d["what"]: (nano_from_usd(d["stands"]), nano_from_usd(d["should"])) for d in told["differences"]}
    assert code == 1
    assert {(d["scope"], d["ref"]) for d in told["differences"]} == {("user", "1")}
    assert amounts == {
        "rollup": (day + 1_000_000_000, day),
        "spent": (day + 4_000_000_000, day),
        "reserved": (7, 0),
    }
    assert reconcile()[0] == 1, "looking changes nothing"
    code, told = reconcile("--repair")
    assert (code, told["repaired"], len(told["differences"])) == (0, True, 3)
    assert reconcile()[1]["differences"] == []
    assert nano_from_usd(admin.get("/api/users/1/spend").json()["today"]) == day


def test_days_whose_traces_are_partly_gone_are_not_judged(
    client: Client, reconcile: Command, traffic: datetime
) -> None:
    """Retention deletes traces and keeps the sums: that is no difference."""
    with transaction(client.application.runtime.engine) as opened:
        opened.execute(text("DELETE FROM traces WHERE cost_nano IS NOT NULL"))
    assert reconcile() == (0, {"counters": 0, "days": 0, "repaired": False, "differences": []})
