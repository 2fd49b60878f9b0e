"""The master keeps its workers: one that dies is replaced, and all can be renewed while callers notice nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

Serve = Callable[..., Any]


def children(pid: int) -> set[int]:
    """The processes that one started and that still live."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def server(serve: Serve) -> Any:
    """A server of two workers."""
    return serve(workers=2)


def test_a_worker_that_dies_is_replaced(server: Any) -> None:
    """The other answers meanwhile."""
    [master] = children(server.pid)
    first = children(master)
    assert len(first) == 2
    os.kill(min(first), signal.SIGKILL)
    assert requests.get(f"{server.base_url}/health", timeout=10).ok
    assert within(20, lambda: len(children(master) - first) == 1 and len(children(master)) == 2)


def test_workers_are_renewed_without_a_refusal(server: Any) -> None:
    """SIGHUP after an upgrade: fresh workers take over, the old ones finish what they began."""
    [master] = children(server.pid)
    first, stop, failures = children(master), threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            try:
                if not requests.get(f"{server.base_url}/health", timeout=10).ok:
                    failures.append("refused")
            except requests.RequestException as error:
                failures.append(repr(error))

    caller = threading.Thread(target=ask)
    caller.start()
    server.process.send_signal(signal.SIGHUP)
    renewed = within(30, lambda: len(children(master)) == 2 and not children(master) & first)
    stop.set()
    caller.join()
    assert renewed
    assert failures == []
    assert server.stop() == 0
