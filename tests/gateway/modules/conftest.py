"""Modules under test: the real lane before the scripted provider, as in the tests of the lane itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.lane.conftest import ask, configure, events, route, said, traces, upstream, upstream_process
from support.accounts import CHEAP, People
from support.callers import Caller, Client

__all__ = ["ask", "configure", "route", "traces", "upstream", "upstream_process"]

MODEL = "gpt-4o-mini"


def text_of(response: Any) -> str:
    """What an answer says, plain or streamed."""
    if response.headers["content-type"].startswith("text/event-stream"):
        assert events(response)[-1] == "[DONE]"
        return said(response)
    return str(response.json()["choices"][0]["message"]["content"])


def problem_of(response: Any) -> dict[str, Any]:
    """How an answer was refused: its envelope, or the last event before `[DONE]`."""
    if response.headers["content-type"].startswith("text/event-stream"):
        found: dict[str, Any] = events(response)[-2]["error"]
        return found
    body: dict[str, Any] = response.json()["error"]
    return body


@pytest.fixture
def guard(admin: Caller) -> Callable[..., int]:
    """Makes a guardrail rule: `guard("birds", "bluebird", "redact")`; its number."""

    def make(name: str, pattern: str, action: str, **more: Any) -> int:
        made = admin.post("/api/guardrails", json={"name": name, "pattern": pattern, "action": action} | more)
        assert made.status_code == 201, made.text
        return int(made.json()["id"])

    return make


@pytest.fixture
def people(client: Client, monkeypatch: pytest.MonkeyPatch) -> People:
    """Makes people and signs them in; their passwords are hashed cheaply."""
    monkeypatch.setattr("app.security.passwords._HASHER", CHEAP)
    return People(client)
