"""The engine of one worker: it claims tasks, carries them out on DBOS, and takes up what dead workers left."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.engine import leases, tasks
from app.engine.context import Context, Stopping
from app.engine.durable import Durable
from app.engine.schedules import Schedule, Schedules, Turn
from app.engine.tasks import Task
from app.engine.vitals import Vitals
from app.runtime import Runtime, enter
from models.base import transaction

log = logging.getLogger("yardmaster.engine")
Run = Callable[[str, Context], None]

PARALLEL, SERIAL = "parallel", "serial"
LANES = {PARALLEL: 6, SERIAL: 2}
POLL_S = 0.15
VITALS_S = 0.5
SCHEDULES_S = 1.0
SWEEP_S = 3_600.0
ENDS_WITHIN_S = 10.0
# The database refused a task's work: how often, and how long apart at most, that is tried before it counts as failed.
TRIES = 8
LONGEST_WAIT_S = 30.0
# A task begun so often takes its worker down with it.
MOST_ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of task: what carries it out, and in which lane."""

    run: Run
    lane: str


class Engine:
    """A worker's engine, started and stopped with it. `register` and `every` come before the start."""

    def __init__(self, held: Runtime) -> None:
        self.executor = uuid.uuid4().hex
        self._runtime = held
        self._database = held.engine
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._kinds: dict[str, Kind] = {}
        self._lanes: dict[str, tuple[list[str], int]] = {name: ([], most) for name, most in LANES.items()}
        self._durable = Durable(held.settings.database, held.settings.data, self.executor, self._run)
        self._schedules = Schedules(self._database, self.executor, self._stopping, partial(enter, held))
        self._claimed: dict[str, Task] = {}
        self._running: set[str] = set()
        self._missed: set[str] = set()
        self._due = {"beat": 0.0, "vitals": 0.0, "schedules": 0.0}
        self._vitals = Vitals(held.settings.data, self.executor)
        self._thread: threading.Thread | None = None
        self._trouble = ""
        self.every(SWEEP_S, "engine.sweep", self._sweep)

    def register(self, kind: str, function: Run, *, lane: str = PARALLEL, concurrency: int | None = None) -> None:
        """Carry tasks of a kind out by this function, in a shared lane, or `concurrency` at once in one of their own.

        ValueError when the kind is known, its name holds a colon, or there is no such lane.
        """
        if kind in self._kinds or ":" in kind:
            raise ValueError(f"{kind!r} is no name for a further kind of task")
        if concurrency is not None:
            lane = kind
            self._lanes.setdefault(lane, ([], concurrency))
        if lane not in self._lanes:
            raise ValueError(f"there is no lane {lane!r}")
        self._kinds[kind] = Kind(function, lane)
        self._lanes[lane][0].append(kind)

    def every(self, seconds: float, name: str, function: Turn) -> None:
        """Call the function every so many seconds after it last ended, on one worker at a time."""
        self._schedules.add(Schedule(name, seconds, function))

    async def start(self) -> None:
        """Begin working, unless the settings say that this server only accepts."""
        if self._runtime.settings.engine == "on":
            self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
            self._thread.start()

    async def stop(self) -> None:
        """End: tasks make way at their next step, and are free for others at once."""
        if self._thread:
            await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._stopping.set()
        self._wake.set()
        assert self._thread is not None  # noqa: S101 (asked before)
        self._thread.join()
        deadline = time.monotonic() + ENDS_WITHIN_S
        while self._running and time.monotonic() < deadline:
            time.sleep(0.01)
        self._schedules.join(max(deadline - time.monotonic(), 0))
        try:
            self._durable.destroy()
            leases.leave(self._database, self.executor)
            self._vitals.end()
        except Exception as error:  # noqa: BLE001 (the lease runs out by itself)
            log.warning("the engine's lease is left to run out: %s", type(error).__name__)

    def _work(self) -> None:
        enter(self._runtime)
        self._due_tasks = tasks.waiting(self._lanes)
        while not self._stopping.is_set():
            try:
                self._turn()
                self._trouble = ""
            except Exception as error:  # noqa: BLE001 (a database away for a moment must not end the work)
                self._complain(error)
            self._wake.wait(POLL_S)
            self._wake.clear()

    def _complain(self, error: Exception) -> None:
        said = type(error).__name__
        if said != self._trouble:
            ours = not isinstance(error, SQLAlchemyError)
            log.warning("tasks cannot be carried out: %s", said, exc_info=ours)
        self._trouble = said

    def _turn(self) -> None:
        if self._is_due("beat", leases.BEAT_S):
            self._vitals.show()
            leases.beat(self._database, self.executor)
            self._recover()
        if self._is_due("vitals", VITALS_S):
            self._bury()
        if self._is_due("schedules", SCHEDULES_S):
            self._schedules.take_turns()
        if tasks.ready(self._database, self.executor, self._lanes, self._due_tasks) and self._durable.launch():
            for task in tasks.claim(self._database, self.executor, self._lanes):
                self._begin(task)

    def _is_due(self, what: str, every_s: float) -> bool:
        moment = time.monotonic()
        if moment < self._due[what]:
            return False
        self._due[what] = moment + every_s
        return True

    def _begin(self, task: Task) -> None:
        self._claimed[task.name] = task
        try:
            self._durable.start(task.name)
        except BaseException:
            self._claimed.pop(task.name, None)  # looked after by the next recovery
            raise

    def _bury(self) -> None:
        """End the leases of workers that died on this machine, and take up what they left: no need to wait."""
        if dead := self._vitals.dead():
            for executor in dead:
                leases.leave(self._database, executor)
            self._recover()

    def _recover(self) -> None:
        """Take up what dead workers left, and what this one holds without being at it."""
        lost = tasks.take_over(self._database, self.executor, self._kinds)
        mine = tasks.held(self._database, self.executor)
        idle = {task.name for task in mine} - self._running - self._claimed.keys()
        names = {task.name for task in lost} | (idle & self._missed)
        self._missed = idle  # twice in a row: once may be a workflow on its way to this worker
        if not names or not self._durable.launch():
            return
        with transaction(self._database, write=False) as opened:
            alive = opened.scalars(leases.living()).all()
        for task in mine:
            if task.name in names and not self._durable.take_up(task.name, alive):
                tasks.finish(self._database, self.executor, task, "lost")

    def _run(self, name: str) -> None:
        """Carry a workflow out; it is over when this returns, and goes on elsewhere when this raises Stopping."""
        enter(self._runtime)
        if name in self._running or self._stopping.is_set():
            raise Stopping
        self._running.add(name)
        try:
            task = self._claimed.pop(name, None) or tasks.resume(self._database, self.executor, name)
            if task is not None:
                self._carry_out(task)
        except Exception as error:  # noqa: BLE001 (the database is away: the task is taken up again)
            log.warning("task %s is put off: %s", name, type(error).__name__)
            raise Stopping from None
        finally:
            self._running.discard(name)
            self._wake.set()

    def _carry_out(self, task: Task) -> None:
        if task.kind not in self._kinds:
            raise Stopping
        context = Context(task.name, self._stopping, partial(self._ask, task), self._durable.step)
        if task.attempts > 1:
            context.done = self._durable.steps(task.name)
        error = self._tried(task, context) if task.attempts <= MOST_ATTEMPTS else "begun too often"
        tasks.finish(self._database, self.executor, task, error)

    def _tried(self, task: Task, context: Context) -> str:
        """The name of the error the task ended with; empty when all went well."""
        run, wait_s = self._kinds[task.kind].run, 0.25
        for tries in range(TRIES):
            try:
                run(task.key, context)
            except (OperationalError, PoolTimeout) as error:
                log.warning("task %s waits for the database: %s", task.name, type(error).__name__)
                context.pause(min(wait_s * 2**tries, LONGEST_WAIT_S))
            except Exception as error:
                log.exception("task %s failed: %s", task.name, type(error).__name__)
                return type(error).__name__
            else:
                return ""
        return "OperationalError"

    def _ask(self, task: Task) -> bool:
        executor, cancelled = tasks.asked(self._database, task)
        if executor != self.executor:
            raise Stopping
        return cancelled

    def _sweep(self, context: Context) -> None:
        """Forget what ended a day ago."""
        while old := tasks.outdated(self._database):
            if not self._durable.launch():
                return
            self._durable.forget([task.name for task in old])
            tasks.forget(self._database, old)
            context.pause(0.05)
