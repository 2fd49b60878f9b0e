"""Who runs the call under a key, and what it came to: rows that all workers share, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Engine, Select, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningDelete

from models.base import now, transaction
from models.idempotency import IdempotentCall as Row

# A run that nobody renews is a dead worker's: its key is free again after so long.
LEASE: Final = timedelta(seconds=60)
KEPT: Final = timedelta(hours=24)
# What a row takes besides its answer, so that empty answers are bounded as well.
ROW_BYTES: Final = 512
# Bytes of all answers, and of one account's, so that nobody drives out what others rely on.
MOST_BYTES: Final = 1 << 30
MOST_EACH: Final = 1 << 28
BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Named:
    """A call under a key: digests of which call it is and of what it asks; the user goes with the account."""

    id: str
    fingerprint: str
    user_id: int | None


class Held(NamedTuple):
    """Why a key is taken: a run that began then, or its sealed answer."""

    fingerprint: str
    began_at: datetime
    sealed_answer: bytes | None


class Store:
    """The table of keys. Every method waits for the database, so none is called on the event loop."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime] = now) -> None:
        self._engine, self._clock = engine, clock
        self._insert = {"postgresql": postgresql, "sqlite": sqlite}[engine.dialect.name].insert

    def claim(self, named: Named, holder: str) -> Held | None:
        """Take a key that is free, lapsed or expired: of many at once one gets None, the others what holds it."""
        moment = self._clock()
        fresh: dict[str, Any] = {"fingerprint": named.fingerprint, "holder": holder, "began_at": moment}
        fresh |= {"user_id": named.user_id, "expires_at": moment + LEASE, "size": ROW_BYTES, "sealed_answer": None}
        taking = self._insert(Row).values(id=named.id, **fresh)
        taking = taking.on_conflict_do_update(index_elements=["id"], set_=fresh, where=Row.expires_at <= moment)
        with transaction(self._engine) as session:
            if session.scalar(taking.returning(Row.id)) is not None:
                return None
            held = select(Row.fingerprint, Row.began_at, Row.sealed_answer).where(Row.id == named.id)
            return Held(*session.execute(held).one())

    def keep(self, id_: str, holder: str, sealed: bytes) -> None:
        """Give a key its answer; nothing when another run has it by now, or its user is gone."""
        answer = {"sealed_answer": sealed, "size": ROW_BYTES + len(sealed), "expires_at": self._clock() + KEPT}
        with transaction(self._engine) as session:
            session.execute(update(Row).where(*_running(id_, holder)).values(answer))

    def release(self, id_: str, holder: str) -> None:
        """Let a key go: the next call under it runs."""
        with transaction(self._engine) as session:
            session.execute(delete(Row).where(*_running(id_, holder)))

    def forget(self, id_: str, sealed: bytes) -> None:
        """Let a key go whose answer cannot be opened, unless it has another one by now."""
        with transaction(self._engine) as session:
            session.execute(delete(Row).where(Row.id == id_, Row.sealed_answer == sealed))

    def renew(self, held: Mapping[str, str]) -> None:
        """Keep runs, ids with their holders, from lapsing."""
        mine = Row.id.in_(list(held)), Row.holder.in_(list(held.values())), Row.sealed_answer.is_(None)
        with transaction(self._engine) as session:
            session.execute(update(Row).where(*mine).values(expires_at=self._clock() + LEASE))

    def sweep(self, moment: datetime, most: int = MOST_BYTES, each: int = MOST_EACH, batch: int = BATCH) -> int:
        """Delete what expired, and of too much, of all or of one account, what would expire first; how many rows went.

        They are at most a batch, so that writers get their turn: whoever is told of a whole one sweeps again.
        """
        expired = select(Row.id).where(Row.expires_at <= moment)
        with transaction(self._engine) as session:
            gone = len(session.execute(_first(expired, batch)).all())
            if gone < batch and (session.scalar(select(func.sum(Row.size))) or 0) > min(most, each):
                gone += len(session.execute(_first(_beyond(most, each), batch - gone)).all())
        return gone


def _beyond(most: int, each: int) -> Select[Any]:
    """The answers that lie beyond so many bytes when they are put in order, those that expire last first."""
    last = Row.expires_at.desc(), Row.id
    total = func.sum(Row.size).over(order_by=last)
    own = func.sum(Row.size).over(partition_by=Row.user_id, order_by=last)
    sums = select(Row.id, total.label("total"), own.label("own")).where(Row.sealed_answer.is_not(None)).subquery()
    return select(sums.c.id).where(or_(sums.c.total > most, sums.c.own > each))


def _first(which: Select[Any], most: int) -> ReturningDelete[Any]:
    return delete(Row).where(Row.id.in_(which.limit(most))).returning(Row.id)


def _running(id_: str, holder: str) -> tuple[Any, ...]:
    return Row.id == id_, Row.holder == holder, Row.sealed_answer.is_(None)
