"""Kills the server and its workers while agents run jobs: every accepted job ends once, with all it wrote."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from random import choice, random

import pytest
from sqlalchemy import select

from models.base import transaction
from models.box_jobs import BoxJob, BoxJobLog
from support.box_jobs import Bench, Remote
from support.deaths import children
from support.servers import COMMAND, Server, environment, running

BOXES, JOBS, LINES, KILLS = 3, 18, 120, 20
SCRIPT = f"import time\nfor n in range({LINES}):\n    print('line', n)\n    time.sleep(0.01)\n"
TERMINAL = {"completed", "failed", "cancelled", "timed_out"}


def start_agent(server: Server, folder: Path, key: str) -> subprocess.Popen[bytes]:
    """An agent with a key of its own."""
    folder.mkdir()
    kept = f'{{"url": "{server.base_url}", "api_key": "{key}", "heartbeat_interval_seconds": 1}}'
    (folder / "box.json").write_text(kept)
    command = [str(COMMAND), "box", "run", "--key-file", "box.json", "--folder", "jobs"]
    with (folder / "out").open("wb") as out:
        return subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, env=environment())


@pytest.mark.crash
@pytest.mark.timeout(600)
def test_no_crash_loses_a_job_or_a_line(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims, lines and results are repeated until they are answered, and count once."""
    settings = {"data": tmp_path / "data", "database_url": database_url, "rate_limits": "off", "workers": 2}
    with running(tmp_path) as start:
        server = start(**settings)
        monkeypatch.setattr("support.servers.free_port", lambda: server.port)
        bench = Bench(remote := Remote(server, database_url))
        boxes = [bench.add_box(f"rig-{n}") for n in range(BOXES)]
        ids = [submit(bench, boxes[n % BOXES][0].uid, lock=n % 2 == 0) for n in range(JOBS)]
        agents = [start_agent(server, tmp_path / f"rig-{n}", key) for n, (_, key) in enumerate(boxes)]
        try:
            for turn in range(KILLS):
                time.sleep(0.4 + 0.6 * random())  # noqa: S311 (a moment, no secret)
                if turn % 4 == 3:
                    server.kill()
                    server = start(**settings)
                else:
                    kill_worker(server)
            ended = until_over(bench, ids)
        finally:
            for agent in agents:
                agent.terminate()
            for agent in agents:
                agent.wait(30)
        assert Counter(ended.values()) == {"completed": JOBS}
        prove(bench, ids)
        remote.close()


def kill_worker(server: Server) -> None:
    """One of the server's workers dies where it stands; the other serves on, and a new one takes its place."""
    (master,) = children(server.pid)
    os.kill(choice(children(master)), signal.SIGKILL)  # noqa: S311 (any of them)


def submit(bench: Bench, box_id: str, *, lock: bool) -> str:
    """A job, accepted."""
    return str(bench.submit(boxId=box_id, script=SCRIPT, resourceLock=lock)["id"])


def until_over(bench: Bench, ids: list[str]) -> dict[str, str]:
    """How each job ended, or why it failed."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        with transaction(bench.engine, write=False) as session:
            rows = session.scalars(select(BoxJob).where(BoxJob.uid.in_(ids)))
            found = {job.uid: job.failure_reason or job.status for job in rows if job.status in TERMINAL}
        if len(found) == len(ids):
            return found
        time.sleep(0.2)
    raise AssertionError(f"not over: {found}")


def prove(bench: Bench, ids: list[str]) -> None:
    """Each log is whole, each line there once, and no box is left locked."""
    with transaction(bench.engine, write=False) as session:
        for job in session.scalars(select(BoxJob).where(BoxJob.uid.in_(ids))):
            query = select(BoxJobLog.line).where(BoxJobLog.job_id == job.id).order_by(BoxJobLog.sequence)
            assert session.scalars(query).all() == [f"line {n}" for n in range(LINES)]
            assert job.log_count == LINES
            assert job.box
            assert job.box.lock_user is None
