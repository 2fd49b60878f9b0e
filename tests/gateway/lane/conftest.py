"""The lane under test: the application in this process, before a provider in another that does what it is told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import RowMapping, text

from app.factory import Application
from app.services.revisions import bump
from gateway.upstream import Upstream, provider
from models.base import session, transaction
from models.gateway import ModuleState, Route
from support.callers import Caller

Json = dict[str, Any]
PROVIDERS = ("openai", "groq", "mistral", "anthropic")
TIMEOUT_S = 0.6


@pytest.fixture(scope="session")
def upstream_process() -> Iterator[Upstream]:
    """The provider, once per session."""
    with provider() as started:
        yield started


@pytest.fixture(autouse=True)
def upstream(upstream_process: Upstream, monkeypatch: pytest.MonkeyPatch) -> Upstream:
    """The provider with nothing scripted, and this server's keys for three names of it."""
    upstream_process.forget()
    for name, value in upstream_process.environment(*PROVIDERS, timeout=TIMEOUT_S).items():
        monkeypatch.setenv(name, value)
    return upstream_process


@pytest.fixture
def configure(application: Application) -> Callable[..., None]:
    """Sets a module as an operator would: `configure("failover", models={...})`; `enabled=False` switches it off."""

    def set_module(name: str, *, enabled: bool = True, **config: Any) -> None:
        with transaction(application.runtime.engine):
            session().merge(ModuleState(name=name, enabled=enabled, priority=10, config=config))
            bump()
        application.runtime.changed()

    return set_module


@pytest.fixture
def route(application: Application) -> Callable[..., None]:
    """Stores a route: `route("house-*", "groq", "llama")`."""

    def store(path: str, provider: str, model: str = "") -> None:
        with transaction(application.runtime.engine):
            session().add(Route(path=path, provider=provider, model=model))
            bump()
        application.runtime.changed()

    return store


@pytest.fixture
def traces(application: Application) -> Callable[..., list[Json]]:
    """`traces(n)`: all traces with their bodies, once there are `n`; fails when there are fewer in time, or more."""
    engine = application.runtime.engine
    query = text(
        "SELECT t.*, b.request, b.response FROM traces t LEFT JOIN trace_bodies b ON b.seq = t.seq ORDER BY t.seq"
    )

    def read(count: int, within: float = 5.0) -> list[Json]:
        deadline = time.monotonic() + within
        rows: list[Json] = []
        while time.monotonic() < deadline:
            with transaction(engine, write=False) as opened:
                rows = [_plain(row) for row in opened.execute(query).mappings()]
            if len(rows) >= count:
                break
            time.sleep(0.03)
        assert len(rows) == count, f"{len(rows)} traces instead of {count}"
        return rows

    return read


def _plain(row: RowMapping) -> Json:
    """The row with its JSON read, which PostgreSQL does by itself."""
    return dict(row) | {"tags": json.loads(row["tags"]) if isinstance(row["tags"], str) else row["tags"]}


def chat(model: str, content: str = "hello", **fields: Any) -> Json:
    """The body of a chat call."""
    return {"model": model, "messages": [{"role": "user", "content": content}]} | fields


Ask = Callable[..., Any]


@pytest.fixture
def ask(user: Caller) -> Ask:
    """Asks for a completion as the first user: `ask("gpt-x", stream=True)`; headers by `headers=`."""

    def post(model: str, content: str = "hello", headers: dict[str, str] | None = None, **fields: Any) -> Any:
        return user.post("/v1/chat/completions", json=chat(model, content, **fields), headers=headers or {})

    return post


def events(response: Any) -> list[Any]:
    """The events of a stream, `[DONE]` as that text."""
    found = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line.startswith("data: ")]
    return [data if data == "[DONE]" else json.loads(data) for data in found]


def said(response: Any) -> str:
    """The text of a streamed answer."""
    pieces = [choice["delta"].get("content") or "" for e in events(response)[:-1] for choice in e.get("choices", ())]
    return "".join(pieces)
