"""Twenty crashes under load: what a caller got an answer to is in the books, once, and the books add up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import Engine, text

from models.base import connect
from support.deaths import alive, children
from support.servers import Server, running

ROUNDS = 20
CALLERS = 4
KEY = "sy_admin_" + "k" * 43
BODY = {"model": "sandbox", "messages": [{"role": "user", "content": "Tell me of crashes"}]}


@dataclass
class Load:
    """Callers that never stop asking; `answered` are the traces of answers that came whole."""

    base_url: str = ""
    answered: list[str] = field(default_factory=list)
    failed: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, number: int) -> None:
        """One caller: plain and streamed calls by turns, on connections of its own."""
        turn = number
        with requests.Session() as session:
            while not self.stop.is_set():
                turn += 1
                try:
                    self.answered.append(self.ask(session, stream=turn % 2 == 0))
                except (requests.RequestException, EOFError):
                    self.failed += 1
                    time.sleep(0.02)

    def ask(self, session: requests.Session, *, stream: bool) -> str:
        """The trace id of a call whose answer came to its end; EOFError when it did not."""
        url, headers = f"{self.base_url}/v1/chat/completions", {"Authorization": f"Bearer {KEY}"}
        with session.post(url, json=BODY | {"stream": stream}, headers=headers, stream=stream, timeout=10) as response:
            response.raise_for_status()
            whole = b"data: [DONE]" in response.content if stream else bool(response.json()["choices"])
        if not whole:
            raise EOFError
        return response.headers["x-stockyard-trace-id"]


@contextlib.contextmanager
def loading(load: Load) -> Iterator[None]:
    """Callers at work for as long as the context lasts."""
    threads = [threading.Thread(target=load.run, args=(n,)) for n in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()


def family(server: Server) -> tuple[int, int, int]:
    """The top process, the one that runs the workers, and the worker."""
    (master,) = children(server.pid)
    (worker,) = children(master)
    return server.pid, master, worker


def until(true: Callable[[], Any], what: str, within: float = 20.0) -> Any:
    """What it answers once it is true."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.RequestException, ValueError, OSError):
            if found := true():
                return found
        time.sleep(0.03)
    raise AssertionError(f"{what} did not happen within {within:g} s")


def healthy(server: Server) -> bool:
    """Whether the port serves."""
    return requests.get(f"{server.base_url}/health", timeout=2).ok


def crash_worker(server: Server) -> bool:
    """The worker dies; the server mends itself."""
    _, master, worker = family(server)
    os.kill(worker, signal.SIGKILL)
    until(lambda: [c for c in children(master) if c != worker and alive(c)], "a new worker")
    until(lambda: healthy(server), "serving again")
    return True


def crash_master(server: Server) -> bool:
    """What runs the workers dies: all of it ends."""
    members = family(server)
    os.kill(members[1], signal.SIGKILL)
    return _ended(server, members)


def crash_top(server: Server) -> bool:
    """The top process, which records, dies: the others follow it."""
    members = family(server)
    os.kill(members[0], signal.SIGKILL)
    return _ended(server, members)


def crash_all(server: Server) -> bool:
    """The machine's plug is pulled."""
    members = family(server)
    for pid in members:
        os.kill(pid, signal.SIGKILL)
    return _ended(server, members)


def _ended(server: Server, members: tuple[int, ...]) -> bool:
    server.process.wait(20)
    until(lambda: not any(map(alive, members)), "the end of every process")
    return False


CRASHES = (crash_worker, crash_master, crash_top, crash_all)


@pytest.mark.crash
@pytest.mark.timeout(900)
def test_no_crash_loses_or_doubles_an_answered_call(database_url: str, tmp_path: Path) -> None:
    """`kill -9` of any of its processes at any moment: exactly-once is a promise about money."""
    settings = {"data": tmp_path / "data", "rate_limits": "off", "admin_key": KEY, "database_url": database_url}
    answered: list[str] = []
    with running(tmp_path) as start:
        server = start(**settings)
        for number in range(ROUNDS):
            load = Load(server.base_url)
            with loading(load):
                time.sleep(0.5 + 0.037 * number)
                lives = CRASHES[number % len(CRASHES)](server)
                time.sleep(0.2)
            assert load.answered, f"round {number} answered nothing"
            answered += load.answered
            server = server if lives else start(**settings)
        assert server.stop() == 0
    engine = connect(database_url or f"sqlite:///{tmp_path}/data/yardmaster.db")
    try:
        prove(engine, answered)
    finally:
        engine.dispose()
    assert list((tmp_path / "data" / "spool").glob("*.spool")) == []


def prove(engine: Engine, answered: list[str]) -> None:
    """Every answer has its trace, no trace is there twice, and the rollups are the sums of the traces."""
    sums = {
        "traces": "SELECT count(*), sum(tokens_in), sum(tokens_out), sum(cost_nano) FROM traces",
        "usage": "SELECT sum(requests), sum(tokens_in), sum(tokens_out), sum(cost_nano) FROM usage_rollups",
        "spend": "SELECT sum(requests), sum(tokens_in), sum(tokens_out), sum(cost_nano) FROM spend_rollups"
        " WHERE scope = 'project'",
    }
    with engine.connect() as connection:
        ids = Counter(connection.execute(text("SELECT id FROM traces")).scalars())
        found = {name: tuple(map(int, connection.execute(text(query)).one())) for name, query in sums.items()}
        counted = int(connection.execute(text("SELECT sum(traces) FROM trace_counts")).scalar_one())
    assert set(answered) - ids.keys() == set()
    assert len(answered) == len(set(answered)) > ROUNDS * CALLERS
    assert max(ids.values()) == 1
    assert found["traces"] == found["usage"] == found["spend"]
    assert counted == found["traces"][0] >= len(answered)
    print(json.dumps({"answered": len(answered), "traces": counted}))  # noqa: T201 (how much was at stake)
