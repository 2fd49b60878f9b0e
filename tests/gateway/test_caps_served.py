"""Budgets through real servers: two of two workers on one database, crashes, hang-ups, and the proof by the command."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from app.gateway.money import nano_from_usd
from models.base import connect, transaction
from support import preloaded
from support.databases import Template
from support.servers import Server, environment
from support.together import at_once

Json = dict[str, Any]
REDIS = os.environ.get("YARDMASTER_TEST_REDIS_URL", "")
# Room for one worst case (0.00117 USD) at a time, and for half of what fifty calls cost (0.00005 each).
BUDGET = 0.0013


class Yard:
    """Two servers of two workers each on one database, with the settings their commands need."""

    def __init__(self, servers: list[Server], keys: Any, settings: Json) -> None:
        self.servers, self.keys, self.settings = servers, keys, settings

    def ask(self, number: int = 0, **fields: Any) -> Any:
        """A small call of the first user at one of the servers, read to its end."""
        body = {"model": "sandbox", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20} | fields
        server = self.servers[number % len(self.servers)]
        return server.request("POST", "/v1/chat/completions", self.keys.user, json=body)

    def cap(self, daily: float) -> None:
        """Give the first user a budget, and the workers time to hear of it."""
        put = {"daily_cap": daily}
        answer = self.servers[0].request("PUT", "/api/users/1/spend/cap", self.keys.admin, json=put)
        assert answer.status_code == 200, answer.text
        time.sleep(1)

    def run(self, *arguments: str) -> tuple[int, Json]:
        """The command's exit code and what it says."""
        data = self.servers[0].data
        command = ["--data", data, "spend", "reconcile", "--json", *arguments]
        done = preloaded.run(command, environment(**self.settings), data)
        return done.returncode, json.loads(done.stdout)

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """The database."""
        file = self.servers[0].data / "yardmaster.db"
        engine = connect(self.settings.get("database_url") or f"sqlite:///{file}")
        yield engine
        engine.dispose()

    def traced(self, count: int, within: float = 10.0) -> int:
        """What all traces cost, once there are so many and nothing is held any more."""
        deadline = time.monotonic() + within
        query = "SELECT count(*), sum(cost_nano), (SELECT count(*) FROM spend_holds) FROM traces"
        with self.engine() as engine:
            while True:
                with transaction(engine, write=False) as opened:
                    calls, cost, held = opened.execute(text(query)).one()
                if calls >= count and not held:
                    assert calls == count
                    return int(cost or 0)
                assert time.monotonic() < deadline, (calls, held)
                time.sleep(0.05)


@pytest.fixture(params=["database", "redis"])
def yard(request: pytest.FixtureRequest, backend: Template, serve: Any, tmp_path: Any) -> Iterator[Yard]:
    """The servers on each database, and with Redis."""
    data = tmp_path / uuid4().hex  # Redis remembers the budgets of a path for two days
    with backend.copy(data) as url:
        settings = {"database_url": url} if url else {}
        if request.param == "redis":
            if not REDIS or url:
                pytest.skip("no Redis is named by YARDMASTER_TEST_REDIS_URL, or tried with SQLite already")
            settings["redis_url"] = REDIS
        common = {"data": data, "workers": 2, "rate_limits": "off"} | settings
        servers = [serve(**common), serve(**common)]
        yield Yard(servers, backend.keys, settings)
        for server in servers:
            server.stop()


def test_neither_workers_nor_crashes_break_a_budget(yard: Yard) -> None:
    """Fifty calls at once over four workers, half of them streams; then a hang-up, and a server that is killed."""
    yard.cap(BUDGET)
    answers = at_once(*[lambda n=n: yard.ask(n, stream=n % 4 > 1) for n in range(50)])
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    spent = yard.traced(50)
    assert 0 < spent <= nano_from_usd(BUDGET)
    for server in yard.servers:
        shown = server.request("GET", "/api/users/1/spend", yard.keys.user).json()
        assert nano_from_usd(shown["today"]) == spent
    _hang_up_and_crash(yard, spent)


def _hang_up_and_crash(yard: Yard, before: int) -> None:
    """Half a stream is paid as half a stream; what a killed server had finished is counted by the other."""
    yard.cap(5)
    body = {"model": "sandbox-drip-300ms", "messages": [{"role": "user", "content": "one two three four five"}]}
    raw = json.dumps(body | {"stream": True, "max_tokens": 1000}).encode()
    first, second = yard.servers
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {yard.keys.user}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", first.port), timeout=10) as connection:
        connection.sendall(head.encode() + raw)
        seen = b""
        while seen.count(b"data:") < 4:
            seen += connection.recv(4096)
    spent = yard.traced(51)
    assert 0 < spent - before < nano_from_usd(0.0001)
    for number in range(8):
        assert yard.ask(number).status_code == 200
    first.kill()
    more = yard.traced(59)
    assert more > spent
    assert second.request("GET", "/api/users/1/spend", yard.keys.user).json()["today"] == more / 1e9
    assert yard.run() == (0, {"counters": 1, "days": 1, "repaired": False, "differences": []})
