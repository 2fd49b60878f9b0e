"""Canaries: keys and prompts with names that nothing else has, looked for everywhere the server writes or speaks."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from gateway.lane.conftest import chat
from gateway.lane.test_served import stored
from gateway.upstream import Upstream
from support.servers import Server

ADMIN = "sy_admin_" + "canaryadmin".ljust(43, "A")
PROVIDER = "sk-openai-canary"
STORED = "canarystoredplainlookingkey"
RAW = "sk-proj-canaryraw0123456789"
WRONG = "sy_" + "canarywrong".ljust(43, "W")
PROMPT = "canaryprompt-how-much-is-it"
MODEL = "gpt-4o-mini"


@pytest.fixture
def yard(serve: Callable[..., Server], upstream: Upstream) -> Server:
    """A server with a canary for an admin key and a provider's key, its log at its most talkative."""
    variables = upstream.environment("openai", timeout=0.7)
    return serve(rate_limits="off", admin_key=ADMIN, log_level="debug", variables=variables)


def make(yard: Server, path: str, method: str = "POST", key: str = ADMIN, body: Any = None) -> requests.Response:
    """A management call that must succeed."""
    response = yard.request(method, path, key, json=body)
    assert response.ok, response.text
    return response


def everything(yard: Server, upstream: Upstream, user_key: str) -> list[str]:
    """Every kind of call with every kind of key, well and badly ended; what the callers were told."""
    quoting = {"status": 401, "error": {"message": "Incorrect API key provided: @KEY@, so said @KEY@"}}
    endings: list[dict[str, Any]] = [
        {},
        {"status": 400, "error": quoting["error"]},
        quoting,
        {"status": 500},
        {"hang": True},
    ]
    endings += [
        {"frames": 3, "then": "error", "error": quoting["error"]},
        {"raw": "<html><title>@KEY@</title></html>"},
        {"close": True},
    ]
    told = []
    for does in endings:
        for key in (user_key, ADMIN, RAW, WRONG):
            upstream.script(MODEL, does)
            for stream in (False, True):
                body = chat(MODEL, PROMPT, stream=stream, api_key=RAW)
                told.append(yard.request("POST", "/v1/chat/completions", key, json=body))
    told.append(yard.request("POST", "/v1/chat/completions", user_key, json={"model": MODEL, "messages": PROMPT}))
    told.append(yard.request("POST", "/v1/chat/completions", user_key, data=f'{{"a": "{PROMPT}'))
    told.append(yard.request("GET", f"/v1/models?key={RAW}", user_key))
    told.append(yard.request("GET", "/v1/models", headers={"Authorization": f"Basic {RAW}"}))
    return [f"{response.headers} {response.text}" for response in told]


def written(yard: Server) -> dict[str, bytes]:
    """Every file of the server and every table, bodies of traces by themselves."""
    found = {str(path): path.read_bytes() for path in yard.data.rglob("*") if path.is_file() and not _database(path)}
    found["log"] = yard.log.read_bytes()
    with contextlib.closing(sqlite3.connect(yard.data / "yardmaster.db")) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            rows = database.execute(f'SELECT * FROM "{name}"').fetchall()  # noqa: S608 (its own tables)
            found[name] = b"\n".join(v if isinstance(v, bytes) else str(v).encode() for row in rows for v in row)
    return found


def _database(path: Path) -> bool:
    return path.name.startswith("yardmaster.db")


@pytest.mark.parametrize("bodies", [True, False], ids=["bodies kept", "bodies not kept"])
def test_no_key_is_anywhere_and_a_prompt_only_where_it_may_be(yard: Server, upstream: Upstream, bodies: bool) -> None:
    """Log, spool, files, tables, traces over HTTP, error bodies: one look at all of them."""
    if not bodies:
        make(yard, "/api/proxy/modules/logging", "PUT", body={"config": {"store_bodies": False}})
    user_key = make(yard, "/api/auth/me/keys", key=yard.user_key, body={"name": "canary"}).json()["key"]
    make(yard, "/api/auth/me/providers/openai", "PUT", yard.user_key, {"api_key": STORED})
    told = everything(yard, upstream, user_key)
    shown = [make(yard, "/api/observe/traces?limit=500", "GET").text]
    stored(yard, 48)
    shown.append(make(yard, "/api/observe/traces?limit=500", "GET").text)
    yard.stop()
    places = written(yard) | {f"told {n}": text.encode() for n, text in enumerate(told)}
    places |= {f"shown {n}": text.encode() for n, text in enumerate(shown)}
    for secret in (ADMIN, PROVIDER, STORED, RAW, WRONG, user_key):
        assert [name for name, data in places.items() if secret.encode() in data] == [], secret
    holding = {name for name, data in places.items() if PROMPT.encode() in data}
    assert holding == ({"trace_bodies"} if bodies else set())
