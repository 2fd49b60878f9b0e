"""This server in the forms that are measured: as it comes, with all that can be off, with two workers, and full."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.peers import JSON, START_LIMIT, Target, run, say
from bench.processes import ROOT, Server, free_port, spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-c", "from app.cli import main; main()"]
MILLION = 1_000_000
PAGE = "/api/observe/traces?limit=20"
# A call like those the bench makes, a second apart, one of a hundred failed; cost in nano-dollars.
FILL = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
INSERT INTO traces (id, request_id, service, operation, provider, model, status, http_status, stream, attempts,
    duration_us, tokens_in, tokens_out, tokens_cached, tokens_reasoning, usage_source, cost_nano, saved_nano, project,
    source, tags, details, created_at)
SELECT 'tr_bench' || i, 'req_' || i, 'proxy', 'chat.completion', 'openai', 'gpt-4o-mini',
    CASE i % 100 WHEN 0 THEN 'error' ELSE 'ok' END, 200, 0, 1, 9000, 24, 9, 0, 0, 'reported', 9000, 0, 'default',
    'real', '{}', '{}', :now - (:count - i) * 1000000
FROM n
"""


@dataclass(frozen=True, slots=True)
class Form:
    """One form of this server: the workers it has, the calls it holds, and whether what can be off is on."""

    name: str
    workers: int = 1
    stored: int = 0
    on: bool = True


FORMS = (
    Form("yardmaster"),
    Form("yardmaster-bare", on=False),
    Form("yardmaster-two", workers=2),
    Form("yardmaster-full", stored=MILLION),
)


def start(form: Form, upstream: str, work: Path) -> Target:
    """The server with one user's key, its rate limit raised as far as its schema admits."""
    port, admin, data = free_port(), f"sy_admin_{secrets.token_urlsafe(32)}", work / form.name
    env = {"YARDMASTER_ADMIN_KEY": admin, "OPENAI_API_KEY": "bench", "OPENAI_BASE_URL": upstream}
    if form.stored:
        fill(data, form.stored)
    options = ["serve", "--port", str(port), "--data", str(data), "--workers", str(form.workers)]
    server = spawn(form.name, [*COMMAND, *options], port, work / f"{form.name}.log", env).ready("/health", START_LIMIT)
    with stopping_on_failure(server):
        raise_rate_limit(server, admin)
        if not form.on:
            switch_off(server, admin)
        made = call(server, "POST", "/api/auth/users", admin, {"email": "bench@example.com"})
    headers = {"Authorization": f"Bearer {made['api_key']['key']}"}
    return Target(form.name, server, revision(), headers=headers, page=(PAGE, admin))


@contextlib.contextmanager
def stopping_on_failure(server: Server) -> Iterator[None]:
    """Stop a server whose set-up fails."""
    try:
        yield
    except BaseException:
        server.stop()
        raise


def revision() -> str:
    """The commit of this tree, with a plus when it has changes."""
    return run("git", "describe", "--always", "--dirty=+", cwd=ROOT)


def fill(data: Path, count: int) -> None:
    """Make the database, with so many calls in it."""
    say(f"storing {count:,} calls …")
    env = os.environ | {"YARDMASTER_DATA": str(data)}
    subprocess.run([*COMMAND, "migrate"], env=env, check=True, capture_output=True, timeout=120)
    with contextlib.closing(sqlite3.connect(data / "yardmaster.db")) as database, database:
        database.execute(FILL, {"count": count, "now": time.time_ns() // 1000})


def raise_rate_limit(server: Server, admin: str) -> None:
    """Put each numeric limit of `rateshield` at its schema's maximum: the module works, and never says no."""
    path = "/api/proxy/modules/rateshield"
    found = call(server, "GET", path, admin)
    module = found.get("module", found)
    properties = module["config_schema"]["properties"]
    widest = {name: properties[name]["maximum"] for name in ("rpm", "burst")}
    call(server, "PUT", path, admin, {"config": module["config"] | widest})


def switch_off(server: Server, admin: str) -> None:
    """Every module that is on and can be off."""
    for module in call(server, "GET", "/api/proxy/modules", admin)["modules"]:
        if module["enabled"] and not module["required"]:
            call(server, "PUT", f"/api/proxy/modules/{module['name']}", admin, {"enabled": False})


def call(server: Server, method: str, path: str, bearer: str, body: object = None) -> dict[str, Any]:
    """One management call; its JSON. Raises RuntimeError with the answer when it is refused."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request(method, path, json.dumps(body) if body else None, JSON | {"Authorization": f"Bearer {bearer}"})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    if answer.status >= http.client.BAD_REQUEST:
        raise RuntimeError(f"{method} {path}: {answer.status} {data[:500]!r}")
    parsed: dict[str, Any] = json.loads(data)
    return parsed


STARTERS: dict[str, Callable[[str, Path], Target]] = {form.name: partial(start, form) for form in FORMS}
