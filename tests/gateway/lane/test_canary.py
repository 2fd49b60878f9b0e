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


IN_PROMPT, IN_ANSWER = "sk-proj-canaryinprompt0123456789", "ghp_" + "canaryinanswer".ljust(36, "0")
MAIL, WORD = "canary.person@example.com", "canaryword-bluebird"


def guarded(yard: Server, upstream: Upstream) -> list[str]:
    """Prompts and answers with secrets in them, plain, streamed and failing; what the callers were told."""
    told = []
    text = f"The key is {IN_ANSWER} and the word is {WORD}, to [EMAIL_REDACTED_1]"
    prompt = f"I am {MAIL}, my key is {IN_PROMPT}, the word is {WORD}"
    for does in ({"text": text}, {"text": text, "pause": 0.01}, {"status": 500}, {"frames": 9, "text": text}):
        for stream in (False, True):
            upstream.script(MODEL, does)
            for said in (prompt, "hello"):
                body = chat(MODEL, said, stream=stream)
                told.append(yard.request("POST", "/v1/chat/completions", yard.user_key, json=body))
    legacy = {"model": MODEL, "prompt": prompt}
    told.append(yard.request("POST", "/v1/completions", yard.user_key, json=legacy))
    return [f"{response.headers} {response.text}" for response in told]


@pytest.mark.parametrize("action", ["redact", "block"])
def test_what_is_guarded_is_nowhere(yard: Server, upstream: Upstream, action: str) -> None:
    """Not in a log, a trace, an error, an event or a table; an address comes back to its owner, and to nobody else."""
    make(yard, "/api/guardrails", body={"name": "word", "pattern": "canaryword-[a-z]+", "action": action})
    make(yard, "/api/proxy/modules/secretscan", "PUT", body={"enabled": True, "config": {"action": action}})
    pii = {"enabled": True, "config": {"pii": {"mode": "redact-restore"}}}
    make(yard, "/api/proxy/modules/promptguard", "PUT", body=pii)
    told = guarded(yard, upstream)
    stored(yard, 17)
    shown = [make(yard, path, "GET").text for path in ("/api/observe/traces", "/api/guardrails/events")]
    kept = make(yard, "/api/observe/traces", "GET").json()["traces"]
    shown += [make(yard, f"/api/observe/traces/{trace['id']}", "GET").text for trace in kept]
    yard.stop()
    places = written(yard) | {f"told {n}": text.encode() for n, text in enumerate(told)}
    places |= {f"shown {n}": text.encode() for n, text in enumerate(shown)}
    for secret in (IN_PROMPT, IN_ANSWER, WORD):
        assert [name for name, data in places.items() if secret.encode() in data] == [], secret
    holding = {name for name, data in places.items() if MAIL.encode() in data}
    assert all(name.startswith("told ") for name in holding)
    assert bool(holding) == (action == "redact")
    assert any(b"word" in data for name, data in places.items() if name == "guardrail_events")
