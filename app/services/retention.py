"""Retention: deletes traces past their age, a few at a time, and leaves the rollups as they are."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Row, bindparam, delete, select, update
from sqlalchemy.orm import Session

from app.engine import Context
from app.services.rollups import only_writer, tag_refs
from models.base import now, transaction
from models.traces import Trace, TraceBody, TraceCount, TraceTag

log = logging.getLogger("yardmaster.retention")

EVERY_S = 3_600.0
PAUSE_S = 0.05
BATCH = 500
TAGS, COUNTS = (Trace.metadata.tables[table.__tablename__] for table in (TraceTag, TraceCount))
KIND = ("source", "status", "provider", "model", "project")


class Retention:
    """The engine's turn that deletes what is older than `days()` days. 0 days keep all."""

    def __init__(self, engine: Engine, days: Callable[[], int], *, pause_s: float = PAUSE_S) -> None:
        self._engine = engine
        self._days = days
        self._pause_s = pause_s

    def __call__(self, context: Context) -> None:
        """Sweep, and tell how much went."""
        if deleted := self.sweep(context):
            log.info("deleted %d traces past their age", deleted)

    def sweep(self, context: Context) -> int:
        """Delete all that is too old, with a pause after each batch so that writers get their turn; how many went."""
        days, deleted = self._days(), 0
        while days > 0:
            gone = expire(self._engine, now() - timedelta(days=days))
            deleted += gone
            if gone < BATCH:
                break
            context.pause(self._pause_s)
        return deleted


def expire(engine: Engine, limit: datetime, batch: int = BATCH) -> int:
    """Delete the oldest traces from before the limit, with bodies, tags and counts, in one transaction; how many."""
    with transaction(engine) as opened:
        return take(opened, limit, batch)


def take(session: Session, limit: datetime, batch: int = BATCH) -> int:
    """The same in the transaction at hand."""
    columns = (Trace.seq, Trace.tags, *(getattr(Trace, name) for name in KIND))
    oldest = select(*columns).where(Trace.created_at < limit).order_by(Trace.created_at, Trace.seq).limit(batch)
    only_writer(session.connection())
    rows = session.execute(oldest).all()
    if rows:
        _delete(session, rows)
    return len(rows)


def _delete(session: Session, rows: Sequence[Row[Any]]) -> None:
    numbers = [row.seq for row in rows]
    session.execute(delete(TraceBody).where(TraceBody.seq.in_(numbers)))
    tags = [{"at_tag": ref, "at_seq": row.seq} for row in rows for ref in tag_refs(row.tags)]
    if tags:
        by_key = delete(TAGS).where(TraceTag.tag == bindparam("at_tag"), TraceTag.seq == bindparam("at_seq"))
        session.connection().execute(by_key, tags)
    session.execute(delete(Trace).where(Trace.seq.in_(numbers)))
    _uncount(session, Counter(tuple(getattr(row, name) for name in KIND) for row in rows))


def _uncount(session: Session, kinds: Counter[tuple[str, ...]]) -> None:
    held = (getattr(TraceCount, name) == bindparam(f"at_{name}") for name in KIND)
    fewer = update(COUNTS).where(*held).values(traces=TraceCount.traces - bindparam("gone"))
    gone = [{f"at_{n}": v for n, v in zip(KIND, kind, strict=True)} | {"gone": kinds[kind]} for kind in sorted(kinds)]
    session.connection().execute(fewer, gone)
    session.execute(delete(TraceCount).where(TraceCount.traces <= 0))
