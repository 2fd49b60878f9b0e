"""How many streams a user has open, at all workers together: each holds a lease, which a dead worker's lets run out."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import delete, func, select, update

from app.problems import Problem
from models.base import now, session
from models.identity import User
from models.row_jobs import RowJobStream, job_uid

MOST: Final = 10
LEASE: Final = timedelta(seconds=60)


def take(user_id: int, worker: str) -> str:
    """A lease for one more stream; a 429 Problem when the user has ten."""
    moment = now()
    session().execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    session().execute(delete(RowJobStream).where(RowJobStream.user_id == user_id, RowJobStream.until < moment))
    held = session().scalar(select(func.count()).where(RowJobStream.user_id == user_id)) or 0
    if held >= MOST:
        raise Problem(429, f"{MOST} streams are open already; close one first", headers={"retry-after": "5"})
    lease = RowJobStream(uid=job_uid("s"), user_id=user_id, worker=worker, until=moment + LEASE)
    session().add(lease)
    session().flush()
    return lease.uid


def renew(worker: str) -> None:
    """Keep the leases of a worker's streams."""
    session().execute(update(RowJobStream).where(RowJobStream.worker == worker).values(until=now() + LEASE))


def give_back(uid: str) -> None:
    """A stream has ended."""
    session().execute(delete(RowJobStream).where(RowJobStream.uid == uid))
