"""The texts of stored calls, a bounded number at a time, without looking twice at what holds none any more.

Calls are gone through by their moment, up to the limit. Some are stored with a moment that was passed already: they are
found by their numbers, which only ever grow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Text, cast, delete, func, or_, select, update
from sqlalchemy.orm import Session

from app.services import retention
from models.base import EPOCH
from models.traces import Trace, TraceBody
from models.wiping import TextWipe

BATCH: Final = 500
# Numbers looked at in one transaction for calls that came late.
SPAN: Final = 5_000
EMPTY: Final = "{}"
EMPTIED, DELETED = "calls_emptied", "calls_deleted"


def late(session: Session, state: TextWipe, limit: datetime) -> tuple[Counter[str], bool]:
    """Empty calls that were stored since with a moment passed before; what that took, and whether there is more."""
    if limit < state.reached_at:
        state.reached_at, state.reached_seq = limit, 0
    top = session.scalar(select(func.max(Trace.seq))) or 0
    if state.reached_at == EPOCH:
        state.seen = top  # nothing was passed
    start, end = state.seen, min(state.seen + SPAN, top)
    inside = (Trace.seq > start, Trace.seq <= end, Trace.created_at < state.reached_at, Trace.created_at < limit)
    taken = _emptied(session, session.scalars(select(Trace.seq).where(*inside)).all()) if start < end else Counter()
    state.seen = max(start, end)
    return taken, state.seen < top


def due(session: Session, state: TextWipe, limit: datetime) -> tuple[Counter[str], bool]:
    """Empty the next calls by their moment; what that took, and whether there is more."""
    after = (Trace.created_at >= state.reached_at, Trace.created_at < limit)
    passed = or_(Trace.created_at > state.reached_at, Trace.seq > state.reached_seq)
    order = (Trace.created_at, Trace.seq)
    rows = session.execute(select(*order).where(*after, passed).order_by(*order).limit(BATCH)).all()
    if not rows:
        return Counter(), False
    state.reached_at, state.reached_seq = rows[-1]
    return _emptied(session, [seq for _, seq in rows]), len(rows) == BATCH


def whole(session: Session, _state: TextWipe, limit: datetime) -> tuple[Counter[str], bool]:
    """Delete the oldest calls before the limit; how many, and whether there are more."""
    gone = retention.take(session, limit, BATCH)
    return Counter({DELETED: gone}), gone == BATCH


def oldest(session: Session, limit: datetime) -> datetime | None:
    """The moment of the oldest call that was left as it is."""
    return session.scalar(select(func.min(Trace.created_at)).where(Trace.created_at >= limit))


def _emptied(session: Session, numbers: Sequence[int]) -> Counter[str]:
    """Take what these calls said; how many of them held anything."""
    said = or_(Trace.error.is_not(None), cast(Trace.details, Text) != EMPTY)
    told = update(Trace).where(Trace.seq.in_(numbers), said).values(error=None, details={}).returning(Trace.seq)
    bodies = delete(TraceBody).where(TraceBody.seq.in_(numbers)).returning(TraceBody.seq)
    unseen = {"synchronize_session": False}
    held = {seq for taking in (told, bodies) for seq in session.scalars(taking, execution_options=unseen)}
    return Counter({EMPTIED: len(held)})
