"""A smaller model stands in for one that keeps failing, and repetitions have a budget."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from app.gateway.attempts import RetryBudget
from gateway.lane.conftest import Ask
from gateway.upstream import Upstream
from support.callers import Caller

Configure = Callable[..., None]
Traces = Callable[..., list[dict[str, Any]]]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
FAST = {"base_delay": "1ms", "max_delay": "2ms"}
SMALLER = {"downgrade": {"gpt-4o": "gpt-4o-mini"}}


@SQLITE
@BOTH
def test_the_smaller_model_is_asked_after_so_many_failures(
    ask: Ask, configure: Configure, upstream: Upstream, traces: Traces, admin: Caller, *, stream: bool
) -> None:
    """The caller gets an answer, is told whose, and pays that model's price."""
    configure("retrypilot", max_retries=5, **FAST, **SMALLER)
    upstream.script("gpt-4o", {"status": 500})
    answer = ask("gpt-4o", stream=stream)
    assert (answer.status_code, answer.headers["x-stockyard-model"]) == (200, "gpt-4o-mini")
    assert answer.headers["x-stockyard-attempts"] == "3"
    assert len(upstream.seen("gpt-4o")) == 2
    [row] = traces(1)
    assert (row["model"], json.loads(row["details"])) == ("gpt-4o-mini", {"downgraded_from": "gpt-4o"})
    plain = ask("gpt-4o-mini", stream=stream)
    assert plain.status_code == 200
    assert row["cost_nano"] == traces(2)[1]["cost_nano"]
    assert admin.get("/api/proxy/modules/retrypilot").json()["stats"]["downgraded"] == 1


@SQLITE
def test_only_a_passing_failure_is_a_reason(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """What is wrong with a request is wrong for a smaller model too; one that is off does nothing."""
    configure("retrypilot", **FAST, **SMALLER)
    upstream.script("gpt-4o", {"status": 400})
    assert ask("gpt-4o").status_code == 400
    upstream.script("gpt-4o", {"status": 500})
    configure("retrypilot", enabled=False, **FAST, **SMALLER)
    assert ask("gpt-4o").status_code == 502
    assert upstream.seen("gpt-4o-mini") == []


@SQLITE
def test_a_budget_holds_the_dearer_of_both(ask: Ask, configure: Configure, traces: Traces, upstream: Upstream) -> None:
    """What may be asked is reserved before anything is: the smaller model is no way around a cap."""
    configure("retrypilot", **FAST, downgrade={"gpt-4o-mini": "gpt-4o"})
    configure("costcap", daily_limit_usd=0.02)
    upstream.script("gpt-4o-mini", {"status": 500})
    answer = ask("gpt-4o-mini")
    assert answer.status_code == 429
    assert upstream.seen("gpt-4o-mini") == upstream.seen("gpt-4o") == []


@SQLITE
@BOTH
def test_repetitions_have_a_budget(
    ask: Ask, configure: Configure, upstream: Upstream, admin: Caller, *, stream: bool
) -> None:
    """An outage is not met with many times the calls; each call is still made once."""
    configure("retrypilot", max_retries=2, budget=3, **FAST)
    configure("failover", enabled=False)
    upstream.script("gpt-down", {"status": 500})
    for _ in range(4):
        assert ask("gpt-down", stream=stream).status_code == 502
    assert 4 + 3 <= len(upstream.seen("gpt-down")) <= 4 + 6  # a minute may begin meanwhile
    assert admin.get("/api/proxy/modules/retrypilot").json()["stats"]["over_budget"] >= 1


def test_a_budget_begins_anew_with_each_minute() -> None:
    """And none is none."""
    now = [0.0]
    budget = RetryBudget(lambda: now[0])
    assert all(budget.take() for _ in range(1_000))
    budget.most = 2
    assert [budget.take() for _ in range(3)] == [True, True, False]
    now[0] = 61.0
    assert budget.take()
    assert budget.refused == 1
