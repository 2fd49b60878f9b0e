"""The leases of workers: a worker is alive while its heartbeat is young, and what a dead one held is free."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine, Select, delete, select, update

from models.base import now, transaction
from models.engine import EngineLease

BEAT_S = 5.0
# Three beats missed. Leases are compared with the clock of who looks: machines must agree to a few seconds.
DEAD = timedelta(seconds=15)
FORGOTTEN = timedelta(hours=1)


def living() -> Select[str]:
    """The executors that are alive."""
    return select(EngineLease.executor).where(EngineLease.heartbeat > now() - DEAD)


def beat(engine: Engine, executor: str) -> None:
    """Say that this worker is alive."""
    moment = now()
    with transaction(engine) as opened:
        mine = update(EngineLease).where(EngineLease.executor == executor).values(heartbeat=moment)
        if opened.scalar(mine.returning(EngineLease.executor)) is None:
            opened.add(EngineLease(executor=executor, heartbeat=moment))
            opened.execute(delete(EngineLease).where(EngineLease.heartbeat < moment - FORGOTTEN))


def leave(engine: Engine, executor: str) -> None:
    """End the lease: what this worker held is free at once."""
    with transaction(engine) as opened:
        opened.execute(delete(EngineLease).where(EngineLease.executor == executor))
