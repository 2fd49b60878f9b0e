"""Calls that wait for a person, as the workers that hold them see them: rows that all workers share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Engine, case, func, select, text, update
from sqlalchemy.orm import Session

from models.approvals import ABANDONED, APPROVED, EXPIRED, WAITING, HeldCall
from models.base import now, transaction

# A row that nobody keeps alive for so long was left by a dead worker.
LEASE: Final = timedelta(seconds=15)
# Held to the end of the transaction on PostgreSQL: of many calls at once no more may wait than there is room for.
LOCK: Final = 7_201_917


class Fate(NamedTuple):
    """What has become of a call by now, and what was said of it."""

    id: int
    status: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A call for which a person is to be asked: its columns, how long it waits, and for how long approvals hold."""

    fingerprint: str
    columns: Mapping[str, Any] = field(repr=False)
    seconds: float
    remember_s: float


def take(engine: Engine, asked: Asked, most: int) -> Fate | None:
    """An approval of the same call that still holds, or a new call that waits; None when enough of them do.

    IntegrityError when the user is gone.
    """
    with transaction(engine) as session:
        if (known := _approved(session, asked)) is not None:
            return Fate(known, APPROVED)
        _one_at_a_time(session)
        if (session.scalar(select(func.count()).where(HeldCall.status == WAITING)) or 0) >= most:
            return None
        return Fate(_add(session, asked), WAITING)


def _one_at_a_time(session: Session) -> None:
    """Wait until nobody else counts those who wait; SQLite has one writer anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})


def _approved(session: Session, asked: Asked) -> int | None:
    if not asked.remember_s:
        return None
    since = now() - timedelta(seconds=asked.remember_s)
    same = (HeldCall.fingerprint == asked.fingerprint, HeldCall.status == APPROVED, HeldCall.ended_at > since)
    return session.scalar(select(HeldCall.id).where(*same).order_by(HeldCall.id.desc()).limit(1))


def _add(session: Session, asked: Asked) -> int:
    moment = now()
    row = HeldCall(fingerprint=asked.fingerprint, created_at=moment, alive_until=moment + LEASE, **asked.columns)
    row.expires_at = moment + timedelta(seconds=asked.seconds)
    session.add(row)
    session.flush()
    return row.id


def look(engine: Engine, numbers: Collection[int]) -> dict[int, Fate]:
    """What has become of these by now; one whose user was erased is not among them."""
    with transaction(engine, write=False) as session:
        return {fate.id: fate for fate in _fates(session, numbers)}


def keep(engine: Engine, numbers: Collection[int]) -> None:
    """Tell that these still wait. One that was given up while its worker or its clock stood still waits again."""
    again = {"status": WAITING, "alive_until": now() + LEASE, "ended_at": None}
    with transaction(engine) as session:
        session.execute(update(HeldCall).where(*_undecided(numbers)).values(again))


def leave(engine: Engine, numbers: Collection[int]) -> None:
    """Nobody waits for these any more."""
    with transaction(engine) as session:
        session.execute(update(HeldCall).where(*_undecided(numbers)).values(ended(ABANDONED)))


def expire(engine: Engine, number: int) -> Fate | None:
    """The end of a call's time, unless somebody decided at the last moment; None when its user was erased."""
    with transaction(engine) as session:
        session.execute(update(HeldCall).where(*_undecided([number])).values(ended(EXPIRED)))
        return next(iter(_fates(session, [number])), None)


def ended(status: str) -> dict[str, Any]:
    """What a row is set to when its call waits no more."""
    left = case((HeldCall.keeps_preview, HeldCall.preview), else_="")
    return {"status": status, "ended_at": now(), "preview": left}


def _fates(session: Session, numbers: Collection[int]) -> list[Fate]:
    columns = (HeldCall.id, HeldCall.status, HeldCall.note)
    return [Fate(*row) for row in session.execute(select(*columns).where(HeldCall.id.in_(numbers)))]


def _undecided(numbers: Collection[int]) -> tuple[Any, ...]:
    return HeldCall.id.in_(numbers), HeldCall.status.in_((WAITING, ABANDONED))
