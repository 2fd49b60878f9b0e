"""Parameter normalisation in the lane: each provider gets what it takes, whoever asks and however often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.lane.conftest import Ask
from gateway.upstream import Upstream
from support.callers import Caller

pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]
Json = dict[str, Any]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
NAMES = ("min_p", "temperature", "top_p", "seed", "max_tokens", "max_completion_tokens", "logprobs", "presence_penalty")


def sent(upstream: Upstream, model: str) -> Json:
    """The sampling parameters the provider got last."""
    body = upstream.seen(model)[-1]["body"]
    return {name: body[name] for name in (*NAMES, "random_seed", "max_new_tokens") if name in body}


CASES: list[tuple[str, Json, Json, str]] = [
    ("gpt-4o-mini", {"min_p": 3, "top_p": 0.5}, {"min_p": 1, "top_p": 0.5}, "min_p=clamped"),
    ("gpt-4o-mini", {"temperature": 1.5}, {"temperature": 1.5}, ""),
    (
        "o3-mini",
        {"temperature": 0.5, "max_tokens": 50, "logprobs": True},
        {"max_completion_tokens": 50},
        "logprobs=dropped, max_tokens=renamed, temperature=dropped",
    ),
    ("mistral-small", {"temperature": 2, "seed": 7}, {"temperature": 1.5, "random_seed": 7}, "temperature=clamped"),
    ("claude-sonnet-4-5", {"temperature": 2, "presence_penalty": 1}, {"temperature": 1, "max_tokens": 4096}, ""),
]


@BOTH
def test_each_provider_gets_what_it_takes(ask: Ask, configure: Configure, upstream: Upstream, stream: bool) -> None:
    """Where it would have refused; the caller is told what was changed."""
    configure("paramnorm")
    for model, given, taken, told in CASES:
        response = ask(model, stream=stream, **given)
        assert sent(upstream, model) == taken
        assert response.headers.get("x-stockyard-normalised", "") == told or model.startswith("claude")


def test_an_operators_rules_come_last(ask: Ask, configure: Configure, upstream: Upstream, admin: Caller) -> None:
    """By glob of provider and model; those for the most tokens only lower it, for budgets hold calls to it."""
    rule = {
        "provider": "openai",
        "model": "gpt-4o*",
        "drop": ["seed", "max_tokens", "messages"],
        "rename": {"presence_penalty": "frequency_penalty", "top_p": "max_tokens"},
        "limits": [
            {"parameter": "temperature", "max": 0.3},
            {"parameter": "max_tokens", "min": 500, "max": 1000},
        ],
    }
    configure("paramnorm", rules=[rule])
    given: Json = {"temperature": 1.0, "seed": 5, "presence_penalty": 1, "max_tokens": 20, "top_p": 0.9}
    response = ask("gpt-4o", **given)
    assert response.status_code == 200
    body = upstream.seen("gpt-4o")[-1]["body"]
    assert body["frequency_penalty"] == 1
    assert sent(upstream, "gpt-4o") == {"temperature": 0.3, "max_tokens": 20, "top_p": 0.9}
    ask("gpt-4o", max_tokens=5000)
    assert sent(upstream, "gpt-4o") == {"max_tokens": 1000}
    ask("gpt-3.5-turbo", **given)
    assert sent(upstream, "gpt-3.5-turbo") == {name: given[name] for name in NAMES if name in given}
    assert admin.get("/api/proxy/modules/paramnorm").json()["stats"] == {"dropped": 1, "renamed": 1, "clamped": 2}


@BOTH
def test_a_stand_in_gets_its_own(ask: Ask, configure: Configure, upstream: Upstream, stream: bool) -> None:
    """What one provider takes, the next one may not: each attempt is made to fit."""
    limits = [{"parameter": "temperature", "max": 1}]
    configure("paramnorm", rules=[{"provider": "groq", "drop": ["top_p"], "limits": limits}])
    configure("failover", providers=["openai", "groq"], models={"gpt-4o": {"groq": "llama"}})
    configure("retrypilot", enabled=False)
    upstream.script("gpt-4o", {"status": 500})
    response = ask("gpt-4o", stream=stream, temperature=2, top_p=0.5)
    assert response.status_code == 200
    assert sent(upstream, "gpt-4o") == {"temperature": 2, "top_p": 0.5}
    assert sent(upstream, "llama") == {"temperature": 1}
    assert response.headers["x-stockyard-normalised"] == "temperature=clamped, top_p=dropped"


def test_switches_leave_parts_of_it_off(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """An operator may want a provider to refuse."""
    configure("paramnorm", clamp=False, drop_unknown=False, report=False)
    response = ask("o3-mini", temperature=2, max_tokens=10)
    assert sent(upstream, "o3-mini") == {"temperature": 2, "max_completion_tokens": 10}
    assert "x-stockyard-normalised" not in response.headers
