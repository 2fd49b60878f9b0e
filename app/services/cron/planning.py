"""When jobs are due: a task for the next firing of each, put in with the row that says so.

A firing plans the next one as it begins, in one transaction, and the row says which firing that was: of several
workers one begins it, whoever is killed. What fell into a time when nothing ran is one task that is late.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app import engine
from app.engine import Context
from app.gateway.modules.timetables import next_after
from app.services.observing.switched import enabled
from models.base import EPOCH, micros, now, transaction
from models.cron import CronJob
from models.engine import EngineTask
from models.gateway import ModuleState
from models.views.fields import rfc3339

Json = dict[str, Any]
Job = Mapping[str, Any]
NAME: Final = "cronllm"
TASK: Final = "cronllm"
# How long before the turn that sees it a job may have come up and still be made.
SEEN_WITHIN: Final = timedelta(minutes=1)
LATE: Final = timedelta(minutes=1)
ENDS: Final = ("completed", "failed", "refused", "missed")
MOST_COUNTED: Final = 1_000


class Turn:
    """The engine's turn that takes over what the settings say."""

    EVERY_S: Final = 5.0

    def __init__(self, database: Engine) -> None:
        self._database = database

    def __call__(self, _context: Context) -> None:
        """Plan what is new or was changed; let rest what is off; forget what is gone."""
        with transaction(self._database, write=False) as session:
            if not _changes(session):
                return
        with transaction(self._database) as session:
            _take_over(session)


def jobs(session: Session) -> dict[str, Job]:
    """The jobs that run, by name; none while the module is off."""
    settings = enabled(session, NAME)
    return {job["name"]: job for job in settings["jobs"] if job["enabled"]} if settings else {}


def begin(session: Session, name: str, at: datetime) -> Job | None:
    """Begin a firing that is due, and plan the next; None when it was called off. Again after a crash, the same."""
    row = session.get(CronJob, name, with_for_update=True)
    job = jobs(session).get(name)
    if row is None or job is None:
        return None
    if row.begun_at != at:
        if row.due_at != at or row.plan != _terms(job):
            return None
        row.begun_at = at
        row.missed += _missed(job, at)
        _plan(row, job, max(at, now()))
    return job


def stats(session: Session) -> Json:
    """How firings ended, of the jobs there are; and when each is due next."""
    rows = session.scalars(select(CronJob).order_by(CronJob.name)).all()
    counted = {name: sum(getattr(row, name) for row in rows) for name in ENDS}
    due = {row.name: rfc3339(row.due_at) for row in rows if row.due_at}
    return {"jobs": len(due), **counted, "next": due}


def firing(key: str) -> tuple[str, datetime]:
    """The job that a task's key names, and when it is due."""
    name, _, micro = key.rpartition("@")
    return name, EPOCH + timedelta(microseconds=int(micro))


def key_of(name: str, at: datetime) -> str:
    """The key of a firing's task."""
    return f"{name}@{micros(at)}"


def _changes(session: Session) -> bool:
    rows = session.scalars(select(CronJob)).all()
    wanted = {name: _terms(job) for name, job in jobs(session).items()}
    planned = {row.name: row.plan for row in rows if row.due_at and not _is_stuck(session, row)}
    return planned != wanted or _gone(session, rows) != []


def _take_over(session: Session) -> None:
    wanted, since = jobs(session), _since(session)
    _add(session, wanted)
    locked = select(CronJob).order_by(CronJob.name).with_for_update()
    rows = {row.name: row for row in session.scalars(locked)}
    for row in _gone(session, rows.values()):
        session.delete(row)
    for name in rows.keys() - wanted.keys():
        rows[name].due_at = None
    for name, job in wanted.items():
        row = rows[name]
        if row.due_at is None or row.plan != _terms(job) or _is_stuck(session, row):
            _plan(row, job, since)


def _add(session: Session, names: Iterable[str]) -> None:
    """Give each job its row; whoever does so at the same moment gives it the same."""
    rows = {"postgresql": postgresql, "sqlite": sqlite}[session.get_bind().dialect.name].insert(CronJob)
    for name in names:
        session.execute(rows.values(name=name, plan="", **dict.fromkeys(ENDS, 0)).on_conflict_do_nothing())


def _is_stuck(session: Session, row: CronJob) -> bool:
    """Whether it was due and nothing will come of it: its task ended before the firing began."""
    if row.due_at is None or row.due_at > now() - LATE:
        return False
    mine = (EngineTask.kind == TASK, EngineTask.key == key_of(row.name, row.due_at), EngineTask.ended_at.is_(None))
    return session.scalar(select(EngineTask.id).where(*mine)) is None


def _gone(session: Session, rows: Iterable[CronJob]) -> list[CronJob]:
    """Those whose job was taken out of the settings."""
    config = session.scalar(select(ModuleState.config).where(ModuleState.name == NAME)) or {}
    known = {job["name"] for job in config.get("jobs", ())}
    return [row for row in rows if row.name not in known]


def _since(session: Session) -> datetime:
    """When the settings were made, so that what came up until this turn is not lost; but not long ago."""
    made = session.scalar(select(ModuleState.updated_at).where(ModuleState.name == NAME))
    return max(made or now(), now() - SEEN_WITHIN)


def _plan(row: CronJob, job: Job, after: datetime) -> None:
    """The next firing after a moment."""
    row.plan, row.due_at = _terms(job), next_after(job["schedule"], job["zone"], after)
    engine.submit(TASK, key_of(row.name, row.due_at), at=row.due_at)


def _missed(job: Job, at: datetime) -> int:
    """How many firings after this one are past already."""
    count, moment, latest = 0, at, now()
    if latest - at < LATE:
        return 0
    while count < MOST_COUNTED and (moment := next_after(job["schedule"], job["zone"], moment)) <= latest:
        count += 1
    return count


def _terms(job: Job) -> str:
    return f"{job['schedule']} {job['zone']}"
