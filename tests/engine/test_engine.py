"""The engine's promises: what is accepted is done, once, in its lane, and makes way when asked to."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine as Database
from sqlalchemy import inspect, select
from sqlalchemy.exc import OperationalError

from app import engine
from app.engine import Context, Engine
from app.engine.durable import FILE, SCHEMA
from app.factory import Application
from app.settings import Settings
from conftest import Serve
from models.base import connect, now, transaction
from models.engine import EngineTask
from support.servers import COMMAND, environment

pytestmark = pytest.mark.settings(engine="on")

Run = Callable[[str, Context], None]


class Work:
    """Submits, and looks at what became of it."""

    def __init__(self, application: Application) -> None:
        self.database = application.runtime.engine
        self.data = application.runtime.settings.data
        self.tasks: Engine = application.runtime.tasks

    def submit(self, kind: str, *keys: str, **options: Any) -> None:
        """Tasks of a kind, in one transaction."""
        with transaction(self.database):
            for key in keys:
                engine.submit(kind, key, **options)

    def cancel(self, kind: str, key: str) -> None:
        """Ask for a task's end."""
        with transaction(self.database):
            engine.cancel(kind, key)

    def states(self, kind: str) -> dict[str, str]:
        """The tasks of a kind, by key."""
        with transaction(self.database, write=False) as session:
            rows = session.execute(select(EngineTask.key, EngineTask.state).where(EngineTask.kind == kind))
            return dict(map(tuple, rows))

    def until(self, true: Callable[[], Any], within_s: float = 20) -> Any:
        """What it answers once it is true."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if found := true():
                return found
            time.sleep(0.01)
        raise AssertionError(f"not within {within_s:g} s")

    def ended(self, kind: str, within_s: float = 20) -> Counter[str]:
        """How the tasks of a kind ended, once all have."""
        open_states = {"queued", "running"}
        self.until(lambda: not open_states & set(self.states(kind).values()), within_s)
        return Counter(self.states(kind).values())


@pytest.fixture
def begun(application: Application, request: pytest.FixtureRequest) -> Callable[..., Work]:
    """Starts the application with these kinds of tasks."""

    def begin(**kinds: Run) -> Work:
        for kind, run in kinds.items():
            application.runtime.tasks.register(kind, run)
        request.getfixturevalue("client")
        return Work(application)

    return begin


def test_a_task_begins_within_a_quarter_of_a_second(begun: Callable[..., Work]) -> None:
    """Of the commit, once DBOS is up."""
    began: dict[str, float] = {}
    work = begun(note=lambda key, _: began.update({key: time.monotonic()}))
    work.submit("note", "first")
    work.ended("note")
    for n in range(5):
        at = time.monotonic()
        work.submit("note", str(n))
        work.ended("note")
        assert began[str(n)] - at < 0.5, "half a second on a busy machine"


def test_what_is_rolled_back_is_not_begun(begun: Callable[..., Work]) -> None:
    """And what is committed twice, or by two at a time, is begun once."""
    began: list[str] = []
    work = begun(note=lambda key, _: began.append(key))

    def fail() -> None:
        with transaction(work.database):
            engine.submit("note", "undone")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: work.submit("note", "once"), range(16)))
    assert work.ended("note") == {"done": 1}
    work.submit("note", "once")
    time.sleep(0.5)
    assert began == ["once"]


def test_a_lane_has_room_for_so_many_at_once(begun: Callable[..., Work]) -> None:
    """Six in parallel, and all are done in the end."""
    inside, most = threading.Semaphore(0), [0]
    lock, running = threading.Lock(), [0]

    def run(_key: str, context: Context) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        inside.release()
        context.pause(0.4)
        with lock:
            running[0] -= 1

    work = begun(slow=run)
    work.submit("slow", *map(str, range(20)))
    assert work.ended("slow") == {"done": 20}
    assert most == [6]


def test_a_task_is_told_that_its_end_was_asked_for(begun: Callable[..., Work]) -> None:
    """Within two seconds; one that waits is never begun."""
    began: list[str] = []

    def run(key: str, context: Context) -> None:
        began.append(key)
        while not context.cancelled():
            time.sleep(0.01)

    work = begun(endless=run)
    work.submit("endless", *map(str, range(7)))
    work.until(lambda: len(began) == 6)
    at = time.monotonic()
    for key in "6012345":
        work.cancel("endless", key)
    assert work.ended("endless", 2) == {"cancelled": 7}
    assert time.monotonic() - at < 2
    assert "6" not in began


def test_a_failure_ends_the_task_and_no_other(begun: Callable[..., Work]) -> None:
    """It says what failed, to who looks at the table."""

    def run(key: str, context: Context) -> None:
        context.step("fail", lambda: 1 // int(key))

    work = begun(divide=run)
    work.submit("divide", "0", "1")
    assert work.ended("divide") == {"failed": 1, "done": 1}
    with transaction(work.database, write=False) as session:
        assert session.scalar(select(EngineTask.error).where(EngineTask.state == "failed")) == "ZeroDivisionError"


def test_a_task_is_begun_when_it_is_due(begun: Callable[..., Work]) -> None:
    """Not before."""
    began: list[str] = []
    work = begun(note=lambda key, _: began.append(key))
    work.submit("note", "now")
    work.ended("note")
    due = now() + timedelta(seconds=1)
    work.submit("note", "later", at=due)
    assert work.ended("note") == {"done": 2}
    assert now() >= due
    assert began == ["now", "later"]


def test_dbos_is_quiet_and_keeps_to_itself(begun: Callable[..., Work], caplog: pytest.LogCaptureFixture) -> None:
    """Nothing in the log while all is well, and its tables among nobody else's; the suite lets it call nobody."""
    work = begun(note=lambda _, context: context.step("say", lambda: "said"))
    work.submit("note", *map(str, range(20)))
    assert work.ended("note") == {"done": 20}
    assert [record for record in caplog.records if not record.name.startswith("yardmaster")] == []
    assert not any("workflow" in table for table in inspect(work.database).get_table_names())
    if work.database.dialect.name == "sqlite":
        with sqlite3.connect(f"file:{work.data}/{FILE}?mode=ro", uri=True) as opened:
            names = {name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        opened.close()
    else:
        names = set(inspect(work.database).get_table_names(schema=SCHEMA))
    assert {"workflow_status", "operation_outputs"} <= names


def test_what_a_step_returned_is_kept_under_its_name(begun: Callable[..., Work]) -> None:
    """In whatever order steps come when a task is begun again, each is done once."""
    done: list[str] = []
    orders = iter(("abc", "cxab"))

    def run(_key: str, context: Context) -> None:
        for name in next(orders):
            assert context.step(name, lambda name=name: done.append(name) or {"was": name}) == {"was": name}
        if "x" not in done:
            raise OperationalError("SELECT", {}, Exception("the database went away"))

    work = begun(steps=run)
    work.submit("steps", "1")
    assert work.ended("steps") == {"done": 1}
    assert done == ["a", "b", "c", "x"]


def test_a_schedule_has_its_turn_again_and_again(application: Application, request: pytest.FixtureRequest) -> None:
    """One at a time, and a turn that fails does not end it."""
    turns: list[float] = []

    def turn(_context: Context) -> None:
        turns.append(time.monotonic())
        if len(turns) == 1:
            raise ValueError

    application.runtime.tasks.every(0.1, "often", turn)
    request.getfixturevalue("client")
    Work(application).until(lambda: len(turns) >= 3)


@pytest.mark.parametrize(("kind", "options"), [("a:b", {}), ("twice", {}), ("new", {"lane": "nowhere"})])
def test_a_kind_that_cannot_be_told_apart_is_refused(application: Application, kind: str, options: Any) -> None:
    """When the server is built, not when the first task comes."""
    tasks = application.runtime.tasks
    tasks.register("twice", lambda _key, _context: None)
    with pytest.raises(ValueError, match=r"lane|kind"):
        tasks.register(kind, lambda _key, _context: None, **options)


def test_a_server_may_leave_the_work_to_a_worker(settings: Settings, serve: Serve) -> None:
    """It accepts, and serves; `yardmaster worker` on the same data carries out."""
    options = {"data": settings.data, "database_url": settings.database_url, "engine": "off"}
    serve(**options, rate_limits="off")
    database = connect(settings.database)
    with transaction(database):
        engine.submit("bulk", "no such job")
    time.sleep(1)
    assert _states(database) == ["queued"]
    command = [str(COMMAND), "worker"]
    variables = environment(data=settings.data, database_url=settings.database_url)
    with subprocess.Popen(command, env=variables, stderr=subprocess.PIPE) as worker:
        deadline = time.monotonic() + 20
        while _states(database) != ["done"] and time.monotonic() < deadline:
            time.sleep(0.1)
        worker.terminate()
        assert worker.wait(20) == 0
        assert worker.stderr is not None
        assert [line.split()[1] for line in worker.stderr.read().decode().splitlines()] == ["INFO"]
    assert _states(database) == ["done"]
    database.dispose()


def _states(database: Database) -> list[str]:
    with transaction(database, write=False) as session:
        return list(session.scalars(select(EngineTask.state)))
