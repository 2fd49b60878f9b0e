"""Shared answers in the database, SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from sqlalchemy import ColumnElement, Engine, delete, func, or_, select
from sqlalchemy.orm import Session

from app.gateway.cache.store import Entry, Room, Stored
from models.answers import CachedAnswer, CacheEpoch
from models.base import now, transaction
from models.identity import User

REPLACED = ("user_id", "epoch", "size", "expires_at", "sealed")


class DatabaseStore:
    """One row for each answer; where there are too many, those that expire first go first."""

    name = "database"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._insert: Any = import_module(f"sqlalchemy.dialects.{engine.dialect.name}").insert

    def get(self, keys: Collection[str], epoch: int) -> Mapping[str, Stored]:
        """One look-up for all of them."""
        columns = (CachedAnswer.key, CachedAnswer.sealed, CachedAnswer.expires_at)
        fresh = (CachedAnswer.key.in_(list(keys)), CachedAnswer.expires_at > now(), CachedAnswer.epoch == epoch)
        with transaction(self._engine, write=False) as session:
            rows = session.execute(select(*columns).where(*fresh)).all()
        return {row.key: Stored(row.sealed, row.expires_at.timestamp()) for row in rows}

    def put(self, entries: Sequence[Entry]) -> None:
        """In one transaction; the last of those under one key counts."""
        with transaction(self._engine) as session:
            rows = {entry.key: _row(entry) for entry in _welcome(session, entries)}
            if rows:  # in one order everywhere: two workers that store the same must not wait for each other
                added = self._insert(CachedAnswer).values([rows[key] for key in sorted(rows)])
                renewed = {name: added.excluded[name] for name in REPLACED}
                session.execute(added.on_conflict_do_update(index_elements=["key"], set_=renewed))

    def tend(self, room: Room, epoch: int) -> None:
        """Two deletions by an index, after what is over is gone."""
        by_age = (CachedAnswer.expires_at.desc(), CachedAnswer.id.desc())
        beyond = select(CachedAnswer.expires_at).order_by(*by_age).offset(room.entries).limit(1)
        sums = select(
            CachedAnswer.expires_at, func.sum(CachedAnswer.size).over(order_by=by_age).label("sum")
        ).subquery()
        too_much = select(func.max(sums.c.expires_at)).where(sums.c.sum > room.bytes)
        with transaction(self._engine) as session:
            session.execute(delete(CachedAnswer).where(_over(epoch)))
            for limit in (beyond, too_much):
                if (last := session.scalar(limit)) is not None:
                    session.execute(delete(CachedAnswer).where(CachedAnswer.expires_at <= last))

    def held(self, epoch: int) -> tuple[int, int]:
        """Fresh answers of this epoch."""
        figures = select(func.count(), func.coalesce(func.sum(CachedAnswer.size), 0)).where(~_over(epoch))
        with transaction(self._engine, write=False) as session:
            entries, size = session.execute(figures).one()
        return int(entries), int(size)

    def clear(self, epoch: int) -> int:
        """In one transaction."""
        with transaction(self._engine) as session:
            gone = session.execute(delete(CachedAnswer).where(CachedAnswer.epoch <= epoch))
            return int(gone.rowcount)  # type: ignore[attr-defined]


def _over(epoch: int) -> ColumnElement[bool]:
    return or_(CachedAnswer.expires_at <= now(), CachedAnswer.epoch < epoch)


def _welcome(session: Session, entries: Sequence[Entry]) -> list[Entry]:
    """Those whose epoch still is, and whose user."""
    epoch = session.scalar(select(CacheEpoch.number)) or 0
    asking = {entry.user_id for entry in entries if entry.user_id is not None}
    users = {None, *session.scalars(select(User.id).where(User.id.in_(asking)))}
    return [entry for entry in entries if entry.epoch == epoch and entry.user_id in users]


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "user_id": entry.user_id,
        "epoch": entry.epoch,
        "size": len(entry.sealed),
        "expires_at": datetime.fromtimestamp(entry.expires, UTC),
        "sealed": entry.sealed,
    }
