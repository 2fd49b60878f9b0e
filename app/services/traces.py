"""Traces: finding them by any filter at a bounded price, and recording one by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Select, false, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.gateway.money import nano_from_usd
from app.problems import conflict, not_found
from app.services.rollups import record, tag_ref
from app.services.trace_record import TraceRecord, trace_id
from app.services.vault.closing import in_force
from app.wire.moments import moment
from models.base import EPOCH, micros, now
from models.traces import Trace, TraceBody, TraceCount, TraceTag

Json = dict[str, Any]
# Filters whose totals are kept as the traces are written; a total by any other is counted, up to this many rows.
COUNTED = frozenset({"source", "status", "provider", "model", "project"})
MOST_COUNTED = 10_000
EVERY = 2**53
MS = 1_000


@dataclass(frozen=True, slots=True)
class Filters:
    """What to list. `tag` is `key:value`; `since` and `until` are moments, both included."""

    source: str | None = None
    status: str | None = None
    provider: str | None = None
    model: str | None = None
    project: str | None = None
    user_id: int | None = None
    request_id: str | None = None
    tag: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def timed(self) -> bool:
        """Whether a span of time is asked for."""
        return self.since is not None or self.until is not None

    def equal(self) -> dict[str, Any]:
        """The filters on a column's value that are set."""
        names = (*sorted(COUNTED), "user_id", "request_id")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


@dataclass(frozen=True, slots=True)
class Found:
    """A list of traces to page: its rows, the columns of its order (newest first), and how many there are."""

    query: Select[Any]
    key: Sequence[InstrumentedAttribute[Any]]
    total: int


def find(session: Session, filters: Filters, reach: int) -> Found:
    """The traces that pass the filters. `reach` is how far the page wanted goes: the total counts at least past it.

    The order is that of their recording, except that a span of time alone is ordered by time: each has its index.
    """
    equal, tagged = filters.equal(), filters.tag is not None
    if not filters.timed and not tagged and equal.keys() <= COUNTED:
        total = kept_total(session, equal)
        return Found(_query(equal) if total else _query(equal).where(false()), (Trace.seq,), total)
    query, key = _query(equal), (Trace.seq,) if equal or tagged else (Trace.created_at, Trace.seq)
    counted = query = query.where(*_within(filters), *(_numbered(session, filters) if equal or tagged else ()))
    if filters.tag is not None:
        held = TraceTag.tag == tag_ref(*_split(filters.tag))
        query, key = query.join(TraceTag, TraceTag.seq == Trace.seq).where(held), (TraceTag.seq,)
        counted = query if equal or filters.timed else select(TraceTag.seq).where(held)
    return Found(query, key, _counted(session, counted, reach))


def _query(equal: Json) -> Select[Any]:
    return select(Trace).where(*(getattr(Trace, name) == value for name, value in equal.items()))


def _within(filters: Filters) -> Iterator[ColumnElement[bool]]:
    if filters.since is not None:
        yield Trace.created_at >= filters.since
    if filters.until is not None:
        yield Trace.created_at <= filters.until


def _numbered(session: Session, filters: Filters) -> Iterator[ColumnElement[bool]]:
    """The span of time as a span of numbers, from the index by time: no other index is then read outside it."""
    if filters.timed:
        # The limit keeps a planner from walking the primary key instead.
        inside = select(Trace.seq).where(*_within(filters)).limit(EVERY).subquery()
        first, last = session.execute(select(func.min(inside.c.seq), func.max(inside.c.seq))).one()
        yield Trace.seq.between(first or 0, last or 0)


def _split(tag: str) -> tuple[str, str]:
    key, _, value = tag.partition(":")
    return key, value


def kept_total(session: Session, equal: Json) -> int:
    """How many traces of a kind are kept, from their counters."""
    held = (getattr(TraceCount, name) == value for name, value in equal.items())
    return int(session.scalar(select(func.coalesce(func.sum(TraceCount.traces), 0)).where(*held)) or 0)


def _counted(session: Session, query: Select[Any], reach: int) -> int:
    """Counted row by row, so bounded: exact up to the bound, which lies past the end of the page."""
    some = query.with_only_columns(query.selected_columns.seq).limit(max(MOST_COUNTED, reach + 1)).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0


def get(session: Session, id_: str) -> tuple[Trace, TraceBody | None]:
    """A trace and, where they were kept, its bodies; Problem 404 when there is none of that id."""
    query = select(Trace, TraceBody).outerjoin(TraceBody, TraceBody.seq == Trace.seq).where(Trace.id == id_)
    found = session.execute(query).one_or_none()
    if found is None:
        raise not_found("Trace")
    trace, body = found
    return trace, body


def create(session: Session, fields: Json) -> TraceRecord:
    """Record a call that did not pass the gateway; Problem 409 when its id is taken.

    `fields` are those of the document's TraceCreate: `duration_ms`, `cost_usd` (absent when the price is not known),
    `metadata`, and the rest under the names of a record. A moment in the future counts as now, one before 1970 as
    its start.
    """
    row, rule = TraceRecord(**_defaults() | _translated(fields)), in_force(session)
    if not record(session, [rule.applied(row) if rule else row]):
        raise conflict("A trace with this id is already recorded", id=row.id)
    return row


def _defaults() -> Json:
    request_id = str(uuid4())
    return {"id": trace_id(), "request_id": request_id, "provider": "", "model": "", "status": "ok"} | _moment(None)


def _translated(fields: Json) -> Json:
    plain = {name: value for name, value in fields.items() if name in TraceRecord._fields}
    bodies = {n: fields[n].encode() for n in ("request_body", "response_body") if n in fields}
    other: Json = {"details": fields.get("metadata", {}), "duration_us": round(fields.get("duration_ms", 0) * MS)}
    if "cost_usd" in fields:
        other["cost_nano"] = nano_from_usd(float(fields["cost_usd"]))
    return plain | bodies | other | _moment(fields.get("created_at"))


def _moment(said: str | None) -> Json:
    present = now()
    return {"created_at": micros(min(max(moment(said), EPOCH), present) if said else present)}
