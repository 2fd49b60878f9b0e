"""The log of a job: lines numbered from 1 without gaps, in the order in which they were committed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Select, insert, select

from models.base import now, session
from models.row_jobs import RowJob, RowJobLog

LONGEST = 500


class Line(NamedTuple):
    """A line to write. `level` is debug, info, warn or error."""

    level: str
    message: str


def append(job: RowJob, lines: Sequence[Line]) -> None:
    """Write lines at the end; the caller's transaction holds the job's row."""
    if not lines:
        return
    first, moment = job.last_seq + 1, now()
    job.last_seq += len(lines)
    rows = [_row(job.id, seq, line) | {"at": moment} for seq, line in enumerate(lines, first)]
    session().execute(insert(RowJobLog), rows)


def _row(job_id: int, seq: int, line: Line) -> dict[str, object]:
    return {"job_id": job_id, "seq": seq, "level": line.level, "message": plain(line.message)}


def plain(text: str) -> str:
    """Text that every database can store, cut to a line's length."""
    return text.replace("\x00", "")[:LONGEST]


def after(job_id: int, seq: int) -> Select[RowJobLog]:
    """The lines behind one, oldest first."""
    return select(RowJobLog).where(RowJobLog.job_id == job_id, RowJobLog.seq > seq).order_by(RowJobLog.seq)
