"""The table of tasks: put in by whoever has work, claimed by whoever has room, and left once the work has ended."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Select, Update, bindparam, case, delete, func, or_, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.engine.leases import living
from models.base import micros, now, session, transaction
from models.engine import EngineTask

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
# Finished tasks are remembered for a day, so that one submitted again by then is not done again.
KEPT = timedelta(days=1)
BATCH = 500
LOCK = 7_201_918
# The kinds in each lane, and how many of them run at once.
Lanes = Mapping[str, tuple[Sequence[str], int]]
COLUMNS = (EngineTask.id, EngineTask.kind, EngineTask.key, EngineTask.queued_at, EngineTask.attempts)


@dataclass(frozen=True, slots=True)
class Task:
    """A task in somebody's hands. `name` is its workflow's, and stays the same however often it is begun."""

    id: int
    kind: str
    key: str
    queued_at: datetime
    attempts: int

    @property
    def name(self) -> str:
        """The workflow's id; the moment tells it from one of the same key in a database restored from a backup."""
        return f"{self.kind}:{self.key}@{micros(self.queued_at)}"


def submit(kind: str, key: str, *, at: datetime | None = None) -> None:
    """Accept a task in the transaction at hand: it is begun once that is committed, and never when it is not.

    `at` is when it is due, by default at once. A key that was submitted within the last day is not begun again.
    """
    opened = session()
    rows = {"postgresql": postgresql, "sqlite": sqlite}[opened.get_bind().dialect.name].insert(EngineTask)
    moment = now()
    row = {"kind": kind, "key": key, "state": QUEUED, "queued_at": moment, "due_at": at or moment}
    opened.execute(rows.values(row | {"attempts": 0, "cancelled": False}).on_conflict_do_nothing())


def cancel(kind: str, key: str) -> None:
    """Ask for a task's end in the transaction at hand: one that waits is not begun, one that runs is told so."""
    waits = EngineTask.state == QUEUED
    asked = update(EngineTask).where(EngineTask.kind == kind, EngineTask.key == key, _unfinished())
    asked = asked.values(
        cancelled=True,
        state=case((waits, CANCELLED), else_=EngineTask.state),
        ended_at=case((waits, micros(now())), else_=EngineTask.ended_at),
    )
    session().execute(asked, execution_options={"synchronize_session": False})


def waiting(lanes: Lanes) -> Select[int]:
    """One task that is due at `moment`; built once, for it is asked many times a second."""
    kinds = [EngineTask.kind == kind for among, _ in lanes.values() for kind in among]
    due = EngineTask.due_at <= bindparam("moment", type_=EngineTask.due_at.type)
    return select(EngineTask.id).where(EngineTask.state == QUEUED, or_(*kinds), due).limit(1)


def ready(engine: Engine, executor: str, lanes: Lanes, due: Select[int]) -> bool:
    """Whether there is something to claim: without a lock, and at next to no cost where nothing is due."""
    with engine.connect() as connection:
        if connection.execute(due, {"moment": now()}).first() is None:
            return False
    with transaction(engine, write=False) as opened:
        return bool(_chosen(opened, executor, lanes))


def claim(engine: Engine, executor: str, lanes: Lanes) -> list[Task]:
    """Take what is due, oldest first, as far as the lanes have room.

    Workers take no more than their share of a lane, so that one does not do the work of all.
    """
    with transaction(engine) as opened:
        chosen = _chosen(opened, executor, lanes) if _alone(opened) else []
        taken = update(EngineTask).where(EngineTask.id.in_(chosen), EngineTask.state == QUEUED)
        return _tasks(opened, taken.values(began_at=func.coalesce(EngineTask.began_at, micros(now()))), executor)


def _alone(opened: Session) -> bool:
    """Whether nobody else counts and claims at this moment; SQLite has one writer anyway."""
    if opened.get_bind().dialect.name != "postgresql":
        return True
    return bool(opened.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": LOCK}))


def _chosen(opened: Session, executor: str, lanes: Lanes) -> list[int]:
    running = select(EngineTask.kind, EngineTask.executor, func.count()).where(EngineTask.state == RUNNING)
    counts = opened.execute(running.group_by(EngineTask.kind, EngineTask.executor)).all()
    workers = max(opened.scalar(select(func.count()).select_from(living().subquery())) or 0, 1)
    chosen: list[int] = []
    for kinds, most in lanes.values():
        held = [(who, number) for kind, who, number in counts if kind in kinds]
        mine = sum(number for who, number in held if who == executor)
        room = min(most - sum(number for _, number in held), -(-most // workers) - mine)
        chosen += _due(opened, kinds, room) if room > 0 else []
    return chosen


def _due(opened: Session, kinds: Sequence[str], room: int) -> list[int]:
    """The oldest of several kinds: each kind's oldest are read off the index."""
    found: list[tuple[datetime, int]] = []
    for kind in kinds:
        waiting = select(EngineTask.due_at, EngineTask.id).where(
            EngineTask.state == QUEUED, EngineTask.kind == kind, EngineTask.due_at <= now()
        )
        rows = opened.execute(waiting.order_by(EngineTask.due_at, EngineTask.id).limit(room)).all()
        found += [(due_at, id_) for due_at, id_ in rows]
    return [id_ for _, id_ in sorted(found)[:room]]


def take_over(engine: Engine, executor: str, kinds: Collection[str]) -> list[Task]:
    """Take the tasks of these kinds that a dead worker holds."""
    lost = (
        EngineTask.kind.in_(kinds),
        EngineTask.state == RUNNING,
        or_(EngineTask.executor.is_(None), EngineTask.executor.not_in(living())),
    )
    with transaction(engine, write=False) as opened:
        if opened.scalar(select(EngineTask.id).where(*lost).limit(1)) is None:
            return []
    with transaction(engine) as opened:
        return _tasks(opened, update(EngineTask).where(*lost), executor, attempts=0)


def resume(engine: Engine, executor: str, name: str) -> Task | None:
    """The task of that workflow, in this worker's hands from now on; None when it has ended."""
    kind, _, rest = name.partition(":")
    key = rest.rpartition("@")[0]
    mine = update(EngineTask).where(EngineTask.kind == kind, EngineTask.key == key, EngineTask.state == RUNNING)
    with transaction(engine) as opened:
        found = _tasks(opened, mine, executor)
    return next((task for task in found if task.name == name), None)


def _tasks(opened: Session, taken: Update, executor: str, attempts: int = 1) -> list[Task]:
    held = {"state": RUNNING, "executor": executor, "attempts": EngineTask.attempts + attempts}
    rows = opened.execute(taken.values(held).returning(*COLUMNS), execution_options={"synchronize_session": False})
    return [Task(*row) for row in rows]


def held(engine: Engine, executor: str) -> list[Task]:
    """The tasks in a worker's hands."""
    with transaction(engine, write=False) as opened:
        rows = opened.execute(select(*COLUMNS).where(EngineTask.state == RUNNING, EngineTask.executor == executor))
        return [Task(*row) for row in rows]


def asked(engine: Engine, task: Task) -> tuple[str | None, bool]:
    """Who holds the task now (None: nobody, it has ended), and whether its end was asked for."""
    with transaction(engine, write=False) as opened:
        known = select(EngineTask.executor, EngineTask.cancelled).where(
            EngineTask.id == task.id, EngineTask.state == RUNNING
        )
        row = opened.execute(known).first()
        return (row.executor, row.cancelled) if row else (None, False)


def finish(engine: Engine, executor: str, task: Task, error: str = "") -> None:
    """Mark a task as over, unless it is in other hands by now."""
    mine = update(EngineTask).where(
        EngineTask.id == task.id, EngineTask.state == RUNNING, EngineTask.executor == executor
    )
    state = FAILED if error else case((EngineTask.cancelled, CANCELLED), else_=DONE)
    values: dict[str, Any] = {"state": state, "ended_at": now(), "executor": None, "error": error[:100] or None}
    with transaction(engine) as opened:
        opened.execute(mine.values(values), execution_options={"synchronize_session": False})


def outdated(engine: Engine) -> list[Task]:
    """Some tasks that ended more than a day ago."""
    with transaction(engine, write=False) as opened:
        old = select(*COLUMNS).where(EngineTask.ended_at < now() - KEPT).order_by(EngineTask.ended_at).limit(BATCH)
        return [Task(*row) for row in opened.execute(old)]


def forget(engine: Engine, tasks: Iterable[Task]) -> None:
    """Delete tasks that are over."""
    with transaction(engine) as opened:
        opened.execute(delete(EngineTask).where(EngineTask.id.in_([task.id for task in tasks])))


def _unfinished() -> Any:
    return EngineTask.state.in_((QUEUED, RUNNING))
