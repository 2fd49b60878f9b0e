"""Two workers, one set of settings: what one of them is told holds in the other within a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from app.factory import create
from app.settings import Settings
from support.callers import Client
from support.databases import Template
from support.servers import Server

CACHE = "/api/proxy/modules/cachelayer"
QUESTION = {"model": "sandbox", "messages": [{"role": "user", "content": "Which worker is this?"}]}
WITHIN_S = 1.0


class Line:
    """A kept-alive connection: every request on it is answered by the same worker."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._session = requests.Session()
        self.worker = self.ask("GET", "/api/status").json()["worker"]

    def ask(self, method: str, path: str, key: str = "", **options: Any) -> requests.Response:
        """One request."""
        headers = {"authorization": f"Bearer {key or self._server.admin_key}"} | options.pop("headers", {})
        return self._session.request(method, self._server.base_url + path, headers=headers, timeout=30, **options)

    @property
    def user_key(self) -> str:
        """The first user's key."""
        return str(self._server.user_key)

    def cached(self) -> str:
        """What the cache of this worker says of one question, asked twice."""
        answers = [self.ask("POST", "/v1/chat/completions", self._server.user_key, json=QUESTION) for _ in range(2)]
        return str(answers[-1].headers["x-stockyard-cache"])

    def close(self) -> None:
        """Hang up."""
        self._session.close()


@pytest.fixture
def lines(serve: Any) -> Iterator[tuple[Line, Line]]:
    """A connection to each of two workers."""
    server = serve(workers=2, rate_limits="off")
    opened: list[Line] = []
    while len({line.worker for line in opened}) < 2 and len(opened) < 200:
        opened.append(Line(server))
    first = opened[0]
    second = next(line for line in opened if line.worker != first.worker)
    yield first, second
    for line in opened:
        line.close()


def waited(line: Line, wanted: str) -> float:
    """Seconds until this worker's cache says so; a test fails when it never does."""
    began = time.monotonic()
    while time.monotonic() - began < 5 * WITHIN_S:
        if line.cached() == wanted:
            return time.monotonic() - began
        time.sleep(0.02)
    raise AssertionError(f"worker {line.worker} never took the change over")


def test_a_toggle_in_one_worker_holds_in_the_other(lines: tuple[Line, Line]) -> None:
    """Callers do not choose their worker: until both agree, a module is half on."""
    here, there = lines
    assert {here.cached(), there.cached()} == {"MISS"}
    assert here.ask("PUT", CACHE, json={"enabled": True}).status_code == 200
    assert here.cached() == "HIT", "the worker that was told must not need a moment"
    assert waited(there, "HIT") < WITHIN_S
    assert there.ask("GET", CACHE).json()["version"] == 1
    assert there.ask("PUT", CACHE, json={"enabled": False}).status_code == 200
    assert waited(here, "MISS") < WITHIN_S


def state(line: Line) -> str:
    """Whether this worker has the answer to the question."""
    answer = line.ask("POST", "/v1/chat/completions", line.user_key, json=QUESTION)
    return str(answer.headers["x-stockyard-cache"])


def held(line: Line, what: str, count: int) -> None:
    """Wait until so many answers are `shared`, or in the workers' `memory`, as this worker tells."""
    until = time.monotonic() + 5 * WITHIN_S
    while line.ask("GET", "/api/cache/stats").json()[what]["entries"] != count:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_an_answer_of_one_worker_is_the_others_until_the_cache_is_emptied(lines: tuple[Line, Line]) -> None:
    """Each question is paid for once, whoever is asked; and what is emptied is empty everywhere within a second."""
    here, there = lines
    here.ask("PUT", CACHE, json={"enabled": True})
    assert waited(there, "HIT") < 5 * WITHIN_S
    for _ in range(4):  # a machine so busy that the store is given up on must not fail this
        assert here.ask("DELETE", "/api/cache").json()["status"] == "cleared"
        held(there, "memory", 0)
        assert state(here) == "MISS", "the worker that was told must not need a moment"
        held(here, "shared", 1)
        if (found := state(there)) == "HIT":
            break
        time.sleep(1.1)
    assert found == "HIT"
    held(there, "memory", 2)
    assert here.ask("DELETE", "/api/cache").json()["removed"] == 1
    time.sleep(WITHIN_S)
    assert state(there) == "MISS"


@pytest.mark.parametrize("rules", ["/api/guardrails", "/api/trust/policies"])
def test_a_rule_made_in_one_worker_guards_the_other(lines: tuple[Line, Line], rules: str) -> None:
    """A guardrail or policy that held for half the calls would be a leak with a green light."""
    here, there = lines
    body = {"model": "sandbox", "messages": [{"role": "user", "content": "bluebird"}]}
    rule = {"name": "birds", "pattern": "bluebird"}
    rule |= {"action": "block"} if rules == "/api/guardrails" else {"type": "block", "target": "request"}

    def answered(line: Line) -> int:
        return line.ask("POST", "/v1/chat/completions", line.user_key, json=body).status_code

    assert {answered(here), answered(there)} == {200}
    made = here.ask("POST", rules, json=rule).json()
    assert answered(here) == 403
    began = time.monotonic()
    while answered(there) != 403 and time.monotonic() - began < 5 * WITHIN_S:
        time.sleep(0.02)
    assert time.monotonic() - began < WITHIN_S
    assert there.ask("DELETE", f"{rules}/{made['id']}").status_code == 200
    assert answered(there) == 200


def test_what_modules_count_and_remember_in_one_worker_holds_in_the_other(lines: tuple[Line, Line]) -> None:
    """An agent does not get a session for each worker, and a conversation goes on whichever answers."""
    here, there = lines
    for name, config in (("agentguard", {"max_calls": 4}), ("chatmem", {})):
        put = {"enabled": True, "config": config}
        assert here.ask("PUT", f"/api/proxy/modules/{name}", json=put).status_code == 200
    time.sleep(WITHIN_S)
    answers = []
    for line in (here, there, here, there, here, there):
        headers = {"x-agent-session": "s", "x-memory": "on"}
        answers.append(line.ask("POST", "/v1/chat/completions", line.user_key, json=QUESTION, headers=headers))
        time.sleep(0.1)  # what was said is written beside the call
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 429, 429]
    asked = [answer.json()["usage"]["prompt_tokens"] for answer in answers[:4]]
    assert asked == sorted(set(asked)), "each call holds one turn more"


def test_a_worker_hears_of_what_changed_while_it_started(
    admin: Any, settings: Settings, document: dict[str, Any], backend: Template
) -> None:
    """Its settings were read by then, and nobody would change them again for its sake."""
    starting = create(settings, document)
    assert admin.put(CACHE, json={"enabled": True}).status_code == 200
    with Client(starting, backend.keys):
        began = time.monotonic()
        while not starting.runtime.gateway.config.on("cachelayer"):
            assert time.monotonic() - began < WITHIN_S
            time.sleep(0.02)
