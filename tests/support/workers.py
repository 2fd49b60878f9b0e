"""`yardmaster worker` processes, and how a test kills one of them in the middle of what it does."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from models.base import transaction
from models.engine import EngineTask
from support import preloaded
from support.preloaded import Process
from support.servers import environment

READY = re.compile(r"the worker is ready: executor (\w+)")


class Workers:
    """Two workers on the data of a server, which carry out tasks of these kinds."""

    def __init__(self, data: Path, database_url: str, kinds: Collection[str]) -> None:
        self._variables = environment(data=data, database_url=database_url, log_level="info")
        self._kinds = kinds
        self._logs = data.with_suffix(".logs")
        self._logs.mkdir()
        self._alive = [self._start(), self._start()]

    def crash(self, database: Engine, moved: Callable[[], bool] = lambda: True) -> None:
        """Kill one that has a task in hand, once something moved; start another."""
        dead = until(lambda: moved() and self._caught(database), 60)
        self._alive.remove(dead)
        dead.kill()
        dead.wait()
        self._alive.append(self._start())

    def end(self) -> list[int]:
        """Ask both to end; their exit codes."""
        for worker in self._alive:
            worker.terminate()
        return [worker.wait(30) for worker in self._alive]

    def said(self) -> str:
        """The logs of all, the dead included."""
        return "".join(log.read_text() for log in self._logs.iterdir())

    def _caught(self, database: Engine) -> Process | None:
        """A worker stopped with a task in hand; one that was just done goes on."""
        worker = self._at_work(database)
        if worker is None:
            return None
        worker.send_signal(signal.SIGSTOP)
        if worker is self._at_work(database, worker):
            return worker
        worker.send_signal(signal.SIGCONT)
        return None

    def _at_work(self, database: Engine, *among: Process) -> Process | None:
        busy = holders(database, self._kinds)
        for worker in among or self._alive:
            ready = READY.search((self._logs / str(worker.pid)).read_text())
            if ready and ready[1] in busy:
                return worker
        return None

    def _start(self) -> Process:
        draft = self._logs / f"draft{time.monotonic_ns()}"
        with draft.open("ab") as output:
            worker = preloaded.start(["worker"], self._variables, self._logs, output, output)
        draft.rename(self._logs / str(worker.pid))
        return worker


def until(true: Callable[[], Any], within_s: float) -> Any:
    """What it answers once it is true."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {within_s:g} s")


def holders(database: Engine, kinds: Collection[str]) -> set[str | None]:
    """The executors that have a task of these kinds in hand."""
    with transaction(database, write=False) as session:
        held = EngineTask.state == "running", EngineTask.kind.in_(kinds)
        return set(session.scalars(select(EngineTask.executor).where(*held)))
