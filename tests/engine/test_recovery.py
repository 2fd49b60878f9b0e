"""Two processes on one database: what the one that dies was at, the other ends, from the step that was not done."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from app import engine
from app.engine.vitals import FOLDER
from app.settings import Settings
from models.base import connect, transaction
from models.engine import EngineLease, EngineTask
from support.servers import environment

WORKER = Path(__file__).with_name("worker.py")
STEPS = 3


class Yard:
    """A database, the workers on it, and what they said they did."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.database: Engine = connect(settings.database)
        self.said = folder / "said"
        self.log = (folder / "workers.log").open("ab")
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self, takes_s: float) -> subprocess.Popen[bytes]:
        """A further worker, ready."""
        variables = environment(data=self.settings.data, database_url=self.settings.database_url)
        command = [sys.executable, str(WORKER), str(self.said), str(takes_s)]
        worker = subprocess.Popen(command, env=variables, stdout=self.log, stderr=self.log)
        self.workers.append(worker)
        until(self.said.with_suffix(f".{worker.pid}").exists, 30)
        return worker

    def submit(self, *keys: str) -> None:
        """Tasks of three steps."""
        with transaction(self.database):
            for key in keys:
                engine.submit("steps", key)

    def done(self) -> list[list[str]]:
        """The lines of the workers: key, step, process, moment."""
        return [line.split() for line in self.said.read_text().splitlines()] if self.said.exists() else []

    def states(self) -> Counter[str]:
        """How many tasks are how far."""
        with transaction(self.database, write=False) as session:
            return Counter(session.scalars(select(EngineTask.state).where(EngineTask.kind == "steps")))

    def leases(self) -> int:
        """How many workers are on record."""
        with transaction(self.database, write=False) as session:
            return len(session.scalars(select(EngineLease)).all())

    def vitals(self) -> list[Path]:
        """What the workers on this machine tell of each other's deaths by."""
        return list((self.settings.data / FOLDER).glob("[!.]*"))

    def end(self) -> None:
        """End every worker."""
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.database.dispose()
        self.log.close()


def until(true: Callable[[], object], within_s: float) -> None:
    """Wait for it."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"not within {within_s:g} s"
        time.sleep(0.02)


@pytest.fixture
def yard(settings: Settings, tmp_path: Path) -> Iterator[Yard]:
    """A database that no worker is on yet."""
    made = Yard(settings, tmp_path)
    yield made
    made.end()


@pytest.mark.parametrize("elsewhere", [False, True], ids=["one machine", "two machines"])
def test_a_survivor_takes_over(yard: Yard, elsewhere: bool) -> None:
    """It goes on with the step that was not done: none is lost, and only the one that was cut short is done again.

    At once where it can see that the other died, else when its lease has run out, within thirty seconds.
    """
    dead, survivor = yard.start(1), yard.start(1)
    until(lambda: len(yard.vitals()) == 2, 10)
    for file in yard.vitals() if elsewhere else []:
        file.unlink()
    yard.submit(*map(str, range(6)))
    until(lambda: len({pid for _, _, pid, _ in yard.done()}) == 2, 20)
    dead.kill()
    dead.wait()
    at, before = time.monotonic(), len(yard.done())
    until(lambda: yard.states() == {"done": 6}, 30)
    took = time.monotonic() - at
    counted = Counter((key, step) for key, step, *_ in yard.done())
    assert counted.keys() == {(str(key), str(step)) for key in range(6) for step in range(STEPS)}
    assert sum(counted.values()) <= 6 * STEPS + 3
    assert {pid for _, _, pid, _ in yard.done()[before:]} == {str(survivor.pid)}
    assert 10 < took < 30 if elsewhere else took < 15, "six tasks take nine seconds"


def test_a_worker_that_is_asked_to_end_makes_way_at_once(yard: Yard) -> None:
    """Its tasks are free for others without waiting for a lease to run out, and its end takes no longer than a step."""
    first = yard.start(0.4)
    yard.submit(*map(str, range(4)))
    until(lambda: len(yard.done()) >= 4, 20)
    yard.start(0.05)
    first.send_signal(signal.SIGTERM)
    assert first.wait(10) == 0
    assert yard.leases() == 1
    until(lambda: yard.states() == {"done": 4}, 12)
    counted = Counter((key, step) for key, step, *_ in yard.done())
    assert set(counted.values()) == {1}
    assert len(counted) == 4 * STEPS


def test_two_workers_share_the_work_and_the_lane(yard: Yard) -> None:
    """Without doing anything twice, and without errors of locks in their logs."""
    workers = [yard.start(0.01) for _ in range(2)]
    yard.submit(*map(str, range(100)))
    until(lambda: yard.states() == {"done": 100}, 60)
    counted = Counter((key, step) for key, step, *_ in yard.done())
    assert (len(counted), set(counted.values())) == (100 * STEPS, {1})
    assert {pid for _, _, pid, _ in yard.done()} == {str(worker.pid) for worker in workers}
    yard.log.flush()
    assert Path(yard.log.name).read_text() == ""
