"""The vault before a real server: a canary stands in no table, no spool and no log, whoever crashed in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.lane.conftest import chat
from gateway.lane.test_canary import written
from gateway.lane.test_served import stored
from gateway.modules.test_encryptvault import ASKED, ONE, OTHER, SAID, VARIABLE
from gateway.modules.test_modules_served import switched
from gateway.upstream import Upstream
from support.servers import Server

Json = dict[str, Any]
Serve = Callable[..., Server]
MODEL = "gpt-4o-mini"
# What each keeps of a call on its own account, beside its trace.
KEEPERS: dict[str, Json] = {
    "cachelayer": {},
    "chatmem": {},
    "compliancelog": {"include_bodies": True},
    "datamap": {},
    "driftwatch": {},
    "proxylog": {"target": "file", "bodies": True},
    "errornorm": {"keep_original": True},
}


def everything(yard: Server, upstream: Upstream) -> int:
    """Calls of every kind, well and badly ended, each saying the canary; how many leave a trace."""
    quoting = {"status": 400, "error": {"message": f"no {ASKED}"}}
    calls = 0
    for does in ({"text": SAID}, {"text": SAID, "frames": 4, "then": "close"}, quoting, {"status": 500, **quoting}):
        upstream.script(MODEL, does)
        for stream in (False, True):
            body, headers = chat(MODEL, f"{ASKED} {calls}", stream=stream), {"x-memory": "on"}
            headers |= {"Idempotency-Key": f"once-{calls}", "Authorization": f"Bearer {yard.user_key}"}
            yard.request("POST", "/v1/chat/completions", json=body, headers=headers)
            calls += 1
    upstream.script(MODEL, {"text": SAID})
    for path, said in (
        ("messages", {"messages": chat("", ASKED)["messages"], "max_tokens": 9}),
        ("responses", {"input": ASKED}),
    ):
        assert yard.request("POST", f"/v1/{path}", yard.user_key, json={"model": MODEL, **said}).ok
        calls += 1
    return calls


def places(yard: Server) -> list[str]:
    """Where a word of what was said stands: files, the log, tables."""
    return [name for name, data in written(yard).items() if ASKED.encode() in data or SAID.encode() in data]


def segments(yard: Server) -> bytes:
    """What is in the spool."""
    return b"".join(path.read_bytes() for path in (yard.data / "spool").glob("*.spool"))


def test_a_canary_is_nowhere_and_is_read_with_the_key_alone(serve: Serve, upstream: Upstream) -> None:
    """Two workers, everything on that keeps anything; killed, started again with the key, and then without it."""
    provider = upstream.environment("openai", timeout=0.7)
    options: Json = {"rate_limits": "off", "workers": 2, "log_level": "debug"}
    yard = serve(**options, variables=provider | {VARIABLE: ONE})
    for name, config in KEEPERS.items():
        switched(yard, name, **config)
    rule = {"name": "birds", "pattern": "canary[a-z]+-[a-z]+", "action": "log"}
    assert yard.request("POST", "/api/guardrails", yard.admin_key, json=rule).ok
    switched(yard, "encryptvault", key_env=VARIABLE, fields=["request", "response", "metadata"])
    time.sleep(1.5)  # until every worker has heard of it
    count = everything(yard, upstream)
    rows = stored(yard, count)
    yard.kill()
    assert rows[0]["id"].encode() in segments(yard)
    assert places(yard) == []
    again = serve(**options, data=yard.data, variables=provider | {VARIABLE: f"{OTHER},{ONE}"})
    told = pages(again, rows)
    assert sum(ASKED in page for page in told) == count
    assert sum(SAID in page for page in told) >= 4
    again.stop()
    last = serve(**options, data=yard.data, variables=provider)
    assert [page for page in pages(last, rows) if ASKED in page or SAID in page] == []
    body = chat(MODEL, f"{ASKED} again")
    assert last.request("POST", "/v1/chat/completions", yard.user_key, json=body).ok
    stored(last, count + 1)
    last.stop()
    assert places(last) == []


def pages(yard: Server, rows: list[Json]) -> list[str]:
    """The traces as they are shown."""
    shown = [yard.request("GET", f"/api/observe/traces/{row['id']}", yard.admin_key) for row in rows]
    assert {answer.status_code for answer in shown} == {200}
    return [answer.text for answer in shown]


def test_a_spool_that_was_not_drained_is_stored_sealed(serve: Serve, upstream: Upstream, tmp_path: Path) -> None:
    """Lines a crash left behind are replayed as they are, by a server that has the key or has not."""
    provider = upstream.environment("openai", timeout=0.7)
    upstream.script(MODEL, {"text": SAID})
    yard = serve(rate_limits="off", variables=provider | {VARIABLE: ONE})
    switched(yard, "encryptvault", key_env=VARIABLE)
    time.sleep(1.5)
    assert yard.request("POST", "/v1/chat/completions", yard.user_key, json=chat(MODEL, ASKED)).ok
    [row] = stored(yard, 1)
    yard.kill()
    left = segments(yard)
    fresh = serve(rate_limits="off", data=tmp_path / "fresh", variables=provider)
    fresh.kill()
    (fresh.data / "spool" / "0-left.spool").write_bytes(left)
    assert places(fresh) == []
    again = serve(rate_limits="off", data=fresh.data, variables=provider | {VARIABLE: ONE})
    stored(again, 1)
    switched(again, "encryptvault", key_env=VARIABLE)
    assert ASKED in pages(again, [row])[0]
    again.stop()
    assert places(again) == []
