"""Who runs next: five jobs of a user at once, the others parked until one ends, all handed to the engine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Engine, Select, String, cast, func, select

from app import engine
from app.services.registry import MAX_CONCURRENT_JOBS
from models.base import session, transaction
from models.engine import EngineTask
from models.identity import User
from models.row_jobs import OPEN, PENDING, RUNNING, RowJob

TENDED: Final = 100
# How the engine calls the jobs of each lane.
KINDS: Final = {engine.PARALLEL: "row_job", engine.SERIAL: "row_job_serial"}


def key_of(job: RowJob) -> str:
    """The name under which the engine knows this turn of a job."""
    return f"{job.uid}.{job.turn}"


def hand_over(job: RowJob) -> None:
    """Give a job to the engine, in the transaction that made or released it."""
    job.parked, job.turn = False, job.turn + 1
    session().flush()
    engine.submit(KINDS[job.lane], key_of(job))


def take_back(job: RowJob) -> None:
    """Tell the engine that a job is over, in the transaction that ended it."""
    engine.cancel(KINDS[job.lane], key_of(job))


def has_place(job: RowJob) -> bool:
    """Whether its owner may run one more; otherwise it is parked, and the next that ends releases it.

    The owner's row is locked, so that a job that ends meanwhile is either counted here or finds this one parked.
    """
    _lock(job.owner_id)
    job.parked = _running(job.owner_id) >= MAX_CONCURRENT_JOBS
    return not job.parked


def _running(owner_id: int) -> int:
    taken = select(func.count()).where(RowJob.owner_id == owner_id, RowJob.status == RUNNING)
    return session().scalar(taken) or 0


def release(owner_id: int) -> None:
    """Let the owner's oldest parked job have the place that is free now."""
    _lock(owner_id)
    if _running(owner_id) >= MAX_CONCURRENT_JOBS:
        return
    parked = select(RowJob.id).where(RowJob.owner_id == owner_id, RowJob.status == PENDING, RowJob.parked)
    for job_id in session().scalars(parked.order_by(RowJob.id)).all():
        if job := session().scalar(_still_parked(job_id)):
            hand_over(job)
            return


def _still_parked(job_id: int) -> Select[RowJob]:
    """The job, once whoever is cancelling it has ended; none when it was cancelled."""
    return select(RowJob).where(RowJob.id == job_id, RowJob.status == PENDING, RowJob.parked).with_for_update()


def tend(database: Engine) -> None:
    """Hand over again what the engine gave up, and let owners with a free place have it."""
    with transaction(database):
        for job in session().scalars(_lost()).all():
            hand_over(job)
    with transaction(database, write=False):
        owners = (
            session().scalars(select(RowJob.owner_id).where(RowJob.status == PENDING, RowJob.parked).distinct()).all()
        )
    for owner_id in owners:
        with transaction(database):
            release(owner_id)


def _lost() -> Select[RowJob]:
    """Jobs that are neither over nor parked, and of which the engine knows no unfinished task."""
    key = RowJob.uid + "." + cast(RowJob.turn, String)
    known = select(EngineTask.id).where(
        EngineTask.kind.in_(KINDS.values()), EngineTask.key == key, EngineTask.state.in_(("queued", "running"))
    )
    lost = select(RowJob).where(RowJob.status.in_(OPEN), ~RowJob.parked, ~known.exists())
    return lost.limit(TENDED).with_for_update(skip_locked=True)


def _lock(owner_id: int) -> None:
    """Not against rows that refer to the owner: accepting jobs goes on meanwhile."""
    session().execute(select(User.id).where(User.id == owner_id).with_for_update(key_share=True))


def positions(jobs: Iterable[RowJob]) -> dict[int, int]:
    """The place in its lane's queue of each job that is pending, from 1."""
    wanted = [job.id for job in jobs if job.status == PENDING]
    if not wanted:
        return {}
    place = func.row_number().over(partition_by=RowJob.lane, order_by=RowJob.id).label("place")
    ranked = select(RowJob.id, place).where(RowJob.status == PENDING).subquery()
    found = session().execute(select(ranked.c.id, ranked.c.place).where(ranked.c.id.in_(wanted)))
    return {row.id: row.place for row in found}


def lanes() -> dict[str, dict[str, int]]:
    """How many jobs run and wait in each lane."""
    counted = select(RowJob.lane, RowJob.status, func.count()).where(RowJob.status.in_(OPEN))
    found: dict[str, dict[str, int]] = {lane: {PENDING: 0, RUNNING: 0} for lane in KINDS}
    for lane, status, count in session().execute(counted.group_by(RowJob.lane, RowJob.status)):
        found.setdefault(lane, {PENDING: 0, RUNNING: 0})[status] = count
    return found


def open_jobs() -> Select[RowJob]:
    """Every job that runs or waits, whoever owns it."""
    return select(RowJob).where(RowJob.status.in_(OPEN))
