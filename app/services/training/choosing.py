"""Choosing calls for training: rated well enough by all who rated them, with bodies that are kept, never twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.services.observing import ratings
from app.services.observing.switched import Settings
from app.services.training.cleaning import cleaned
from app.services.training.conversations import conversation
from app.services.training.forms import line
from models.base import now
from models.identity import User
from models.traces import Trace, TraceBody
from models.training import TrainingCall
from models.trust import TrustFeedback

# Feedback looked at in one transaction.
BATCH: Final = 100
# A call may be rated before it is stored, and by a second person soon after the first.
SETTLED: Final = timedelta(hours=1)
# Bytes of a request, and of an answer: a batch of them must fit into memory.
LARGEST_BODY: Final = 512 * 1024


class Choice(NamedTuple):
    """A call that was chosen, its line still to be made."""

    seq: int
    trace_id: str
    user_id: int | None
    created_at: datetime
    own: str
    request: bytes
    response: bytes


class Seen(NamedTuple):
    """The calls chosen of some feedback; its last number, and the last one that need not be looked at again."""

    chosen: list[Choice]
    last: int
    settled: int


def look(session: Session, settings: Settings, scale: str, after: int) -> Seen | None:
    """The next feedback after a number; None when there is no more."""
    told = select(TrustFeedback.id, TrustFeedback.created_at).where(TrustFeedback.id > after)
    rows = session.execute(told.order_by(TrustFeedback.id).limit(BATCH)).all()
    if not rows:
        return None
    limit, settled = now() - SETTLED, after
    for number, created_at in rows:
        if created_at >= limit:
            break
        settled = number
    numbers = sorted(set(session.scalars(fresh(rows[0].id, rows[-1].id))))
    return Seen(_chosen(session, numbers, settings, scale) if numbers else [], rows[-1].id, settled)


def fresh(first: int, last: int) -> Select[Any]:
    """The calls that feedback with these numbers is about, and that are in no file yet."""
    calls = ratings.tied(TrustFeedback.id.between(first, last)).subquery()
    found = select(calls.c.call).outerjoin(TrainingCall, TrainingCall.seq == calls.c.call)
    return found.where(TrainingCall.seq.is_(None))


def _chosen(session: Session, numbers: list[int], settings: Settings, scale: str) -> list[Choice]:
    """Those of the calls whose ratings, everybody's last, have a mean that will do."""
    names = select(Trace.id, Trace.request_id).where(Trace.seq.in_(numbers))
    known = sorted({name for row in session.execute(names) for name in row})
    rated = ratings.last(TrustFeedback.request_id.in_(known), scale).subquery()
    means = select(rated.c.call, func.avg(rated.c.rating)).where(rated.c.call.in_(numbers)).group_by(rated.c.call)
    least = settings["min_rating"]
    liked = [call for call, mean in session.execute(means) if ratings.stars(mean, scale) >= least]
    columns = (Trace.seq, Trace.id, Trace.user_id, Trace.created_at, func.coalesce(User.name, ""))
    found = select(*columns, TraceBody.request, TraceBody.response).join(TraceBody, TraceBody.seq == Trace.seq)
    whole = found.outerjoin(User, User.id == Trace.user_id).where(
        Trace.seq.in_(liked),
        func.length(TraceBody.request) <= LARGEST_BODY,
        func.length(TraceBody.response) <= LARGEST_BODY,
    )
    return [Choice._make(row) for row in session.execute(whole.order_by(Trace.seq))]


def lines(chosen: list[Choice], settings: Settings) -> Iterator[tuple[Choice, bytes]]:
    """Their lines; calls that are no conversation in words, or were cut, have none."""
    for one in chosen:
        if (said := conversation(one.request, one.response)) is None:
            continue
        clean = cleaned(said, one.own) if settings["redact"] else said
        made = line(clean, settings["format"])
        if made is not None:
            yield one, made


def still(session: Session, chosen: list[Choice]) -> set[int]:
    """The calls of these whose bodies are still kept and that are in no file yet."""
    numbers = [one.seq for one in chosen]
    kept = select(TraceBody.seq).outerjoin(TrainingCall, TrainingCall.seq == TraceBody.seq)
    return set(session.scalars(kept.where(TraceBody.seq.in_(numbers), TrainingCall.seq.is_(None))))
