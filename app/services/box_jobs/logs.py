"""What jobs write, line by line: stored once by the box's own count, in whatever order and how often it arrives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, case, func, insert, select, update

from app.services.box_jobs import moves, news, states
from app.wire.moments import moment
from models.base import now, session
from models.box_jobs import BoxJob, BoxJobLog

Json = dict[str, Any]
# Longer lines are cut, with a notice at their end.
LONGEST_LINE = 1024 * 1024


def append(job: BoxJob, chunks: Sequence[Json]) -> int:
    """Store the chunks that are new; how many were. A 409 Problem once the job is over.

    The job's row is locked first: what two requests bring at once is told apart, and whoever reads the row after its
    end knows that no line comes any more.
    """
    first = {chunk["sequenceNum"]: chunk for chunk in reversed(chunks)}
    if not _open_for(job, max(first)):
        raise moves.refused(job)
    known = select(BoxJobLog.sequence).where(BoxJobLog.job_id == job.id, BoxJobLog.sequence.in_(first))
    for sequence in session().scalars(known):
        del first[sequence]
    if first:
        session().execute(insert(BoxJobLog), [_row(job.id, first[sequence]) for sequence in sorted(first)])
        counted = update(BoxJob).where(BoxJob.id == job.id).values(log_count=BoxJob.log_count + len(first))
        session().execute(counted.execution_options(synchronize_session=False))
        news.ring()
    session().refresh(job)
    return len(first)


def _open_for(job: BoxJob, newest: int) -> bool:
    highest = case((func.coalesce(BoxJob.last_sequence, -1) < newest, newest), else_=BoxJob.last_sequence)
    running = update(BoxJob).where(BoxJob.id == job.id, BoxJob.status.in_(states.ACTIVE))
    touched = running.values(last_sequence=highest, updated_at=now()).returning(BoxJob.id)
    if session().scalar(touched.execution_options(synchronize_session=False)) is not None:
        return True
    session().refresh(job)
    return False


def _row(job_id: int, chunk: Mapping[str, Any]) -> Json:
    line, truncated = cut(chunk["line"])
    written: datetime = moment(chunk["timestamp"]) if "timestamp" in chunk else now()
    row = {"job_id": job_id, "sequence": chunk["sequenceNum"], "stream": chunk["stream"], "line": line}
    return row | {"size": len(line.encode()), "truncated": truncated, "written_at": written}


def cut(line: str, longest: int = LONGEST_LINE) -> tuple[str, bool]:
    """The line, or its beginning with a notice when it has more bytes of UTF-8 than are kept; whether it was cut."""
    if len(line) * 4 <= longest or len(raw := line.encode()) <= longest:
        return line, False
    kept = raw[:longest].decode("utf-8", "ignore")
    return f"{kept} [truncated: the line has {len(raw)} bytes]", True


def lines(job: BoxJob, after: int | None = None, stream: str | None = None) -> Select[BoxJobLog]:
    """The lines of a job, after one of them, of one stream or of all."""
    found = select(BoxJobLog).where(BoxJobLog.job_id == job.id)
    if after is not None:
        found = found.where(BoxJobLog.sequence > after)
    return found if stream is None else found.where(BoxJobLog.stream == stream)
