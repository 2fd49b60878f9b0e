"""Server-sent events of a job (WHATWG HTML §9.2): its lines, its states, its end; and pages of stored lines as such."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from models.box_jobs import BoxJobLog
from models.views.fields import rfc3339

BEAT = b": keepalive\n\n"
RETRY = b"retry: 3000\n\n"
MOST_LINES = 500
MOST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Frame:
    """A line as an event, the number of its row, and its place in the box's count."""

    row: int
    sequence: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """Which lines to read: in the box's order up to a row, or in the order of their arrival after one."""

    after_row: int = 0
    up_to_row: int | None = None
    after_sequence: int = -1

    @property
    def in_arrival(self) -> bool:
        """Whether the order is that of arrival."""
        return self.up_to_row is None


def read(opened: Session, job_id: int, job_uid: str, page: Page) -> list[Frame]:
    """The next lines, a few hundred or about a megabyte of them; none at the end."""
    found = opened.execute(_query(job_id, page).limit(MOST_LINES)).all()
    kept: list[int] = []
    size = 0
    for row, length in found:
        if kept and size + length > MOST_BYTES:
            break
        kept.append(row)
        size += length
    lines = {line.id: line for line in opened.scalars(select(BoxJobLog).where(BoxJobLog.id.in_(kept)))}
    return [Frame(row, lines[row].sequence, log(job_uid, lines[row])) for row in kept]


def _query(job_id: int, page: Page) -> Select[int, int]:
    query = select(BoxJobLog.id, BoxJobLog.size).where(BoxJobLog.job_id == job_id)
    if page.up_to_row is None:
        return query.where(BoxJobLog.id > page.after_row).order_by(BoxJobLog.id)
    after = query.where(BoxJobLog.sequence > page.after_sequence, BoxJobLog.id <= page.up_to_row)
    return after.order_by(BoxJobLog.sequence)


def log(job_uid: str, line: BoxJobLog) -> bytes:
    """A line; its id is the box's count, so that `Last-Event-ID` says where to go on."""
    told = {"jobId": job_uid, "sequenceNum": line.sequence, "stream": line.stream, "line": line.line}
    told |= {"truncated": line.truncated, "timestamp": rfc3339(line.written_at)}
    return b"event: log\nid: %d\ndata: %b\n\n" % (line.sequence, orjson.dumps(told))


def status(job_uid: str, state: str, at: datetime | None) -> bytes:
    """The state a job came to, and when."""
    told = {"jobId": job_uid, "status": state, "at": rfc3339(at) if at else None}
    return b"event: status\ndata: %b\n\n" % orjson.dumps(told)


def end(state: str, exit_code: int | None) -> bytes:
    """How the job ended; nothing follows."""
    return b"event: end\ndata: %b\n\n" % orjson.dumps({"status": state, "exitCode": exit_code})
