"""Twenty deaths of the worker while jobs over rows run: each accepted job ends once, with all of its rows."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import requests
from sqlalchemy import Engine, func, select

from app.services.row_jobs.queue import KINDS
from app.settings import Settings
from models.base import connect, transaction
from models.engine import EngineTask
from models.row_jobs import OPEN, RowJob, RowJobLog, RowJobRows
from support import preloaded
from support.remote import Remote, signed_in
from support.servers import environment, running
from support.workers import READY, holders, until

DEATHS, MOST_OPEN = 20, 12
ROWS = 4_000
ITEMS = [{"n": n, "telephone": f"02 98 {n // 100:02} {n % 100:02} 00", "nom": f"Row {n}"} for n in range(ROWS)]
BODIES = {"normalize": {}, "filter": {"require_phone": True}, "sort": {"sort_by": "nom", "direction": "asc"}}


@dataclass
class Load:
    """Somebody who never stops creating jobs; `accepted` are those that were answered with 201."""

    somebody: Remote
    database: Engine
    accepted: dict[str, str] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Types by turns, a few open jobs at once."""
        turn = 0
        while not self.stop.is_set():
            self.stop.wait(0.4)
            if unfinished(self.database) >= MOST_OPEN:
                continue
            slug = list(BODIES)[turn % len(BODIES)]
            turn += 1
            with suppress(requests.RequestException):
                answer = self.somebody.request("POST", f"/api/jobs/{slug}", json=BODIES[slug] | {"items": ITEMS})
                if answer.status_code == 201:
                    self.accepted[answer.json()["id"]] = slug


@contextmanager
def loading(load: Load) -> Iterator[None]:
    """Jobs are created for as long as the context lasts."""
    thread = threading.Thread(target=load.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        load.stop.set()
        thread.join(70)


@pytest.mark.crash
@pytest.mark.timeout(900)
def test_every_accepted_job_ends_once_and_whole(database_url: str, tmp_path: Path) -> None:
    """What was begun goes on where it was; nothing is done twice, and nothing is forgotten."""
    settings = {"data": tmp_path / "data"} | ({"database_url": database_url} if database_url else {})
    with running(tmp_path) as start:
        server = start(rate_limits="off", engine="off", **settings)
        engine = connect(Settings(data=server.data, database_url=database_url).database)
        load = Load(signed_in(server, database_url=database_url), engine)
        with loading(load):
            for number in range(DEATHS):
                worker = Worker(tmp_path, number, **settings)
                time.sleep(number % 7 * 0.2)
                with suppress(AssertionError):  # all it could do waits for the leases of the dead
                    until(partial(worker.caught, engine), 2)
                worker.kill()
        worker = Worker(tmp_path, DEATHS, **settings)
        try:
            until(lambda: not unfinished(engine), 300)
            judge(engine, load)
        finally:
            worker.kill()
            engine.dispose()


class Worker:
    """`yardmaster worker`, which carries the server's jobs out until it is killed."""

    def __init__(self, folder: Path, number: int, **settings: object) -> None:
        self.log = folder / f"worker{number}.log"
        with self.log.open("wb") as output:
            self.process = preloaded.start(["worker"], environment(**settings), folder, output, output)
        self.executor = until(lambda: READY.search(self.log.read_text()), 60)[1]

    def caught(self, engine: Engine) -> bool:
        """Whether it was stopped with a job in hand; otherwise it goes on."""
        self.process.send_signal(signal.SIGSTOP)
        if self.executor in holders(engine, KINDS.values()):
            return True
        self.process.send_signal(signal.SIGCONT)
        return False

    def kill(self) -> None:
        """It dies where it stands."""
        self.process.kill()
        self.process.wait()


def unfinished(engine: Engine) -> int:
    """How many jobs are open."""
    with transaction(engine, write=False) as session:
        return session.scalar(select(func.count()).where(RowJob.status.in_(OPEN))) or 0


def judge(engine: Engine, load: Load) -> None:
    """Every job that was accepted is done, with each row once, and says so once."""
    with transaction(engine, write=False) as session:
        jobs = session.scalars(select(RowJob)).all()
        ends = Counter(session.scalars(select(RowJobLog.job_id).where(RowJobLog.message.like("Done: %"))))
        stored = dict(
            session.execute(select(RowJobRows.job_id, func.sum(RowJobRows.count)).group_by(RowJobRows.job_id)).all()
        )
        begun_again = select(func.sum(EngineTask.attempts - 1)).where(
            EngineTask.kind.in_(KINDS.values()), EngineTask.attempts > 1
        )
        again = session.scalar(begun_again) or 0
    assert again >= DEATHS // 4, "the crashes must hit jobs at work"
    assert load.accepted.keys() <= {job.uid for job in jobs}
    assert {job.status for job in jobs} == {"done"}
    assert {(job.processed, job.rows, stored[job.id], ends[job.id]) for job in jobs} == {(ROWS, ROWS, ROWS, 1)}
    assert len(load.accepted) >= MOST_OPEN
    for uid in list(load.accepted)[:: max(1, len(load.accepted) // 10)]:
        with load.somebody.request("GET", f"/api/jobs/{uid}/download") as file:
            assert sorted(row["n"] for row in file.json()) == list(range(ROWS))
