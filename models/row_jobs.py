"""Jobs over rows: what was asked, the rows that go in and come out in chunks, log lines, and who watches."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from secrets import token_hex

from sqlalchemy import JSON, Float, ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, deferred, mapped_column

from models.base import Base, RowId, now

PENDING, RUNNING, DONE, FAILED, CANCELLED, EXPIRED = "pending", "running", "done", "failed", "cancelled", "expired"
OPEN = (PENDING, RUNNING)
ENDED = (DONE, FAILED, CANCELLED)


def job_uid(prefix: str) -> str:
    """An opaque id such as `j_1f0c…`."""
    return f"{prefix}_{token_hex(12)}"


class RowJob(Base):
    """A run of one job type over rows.

    `units` is what there is to do, `processed` how much of it is stored; the units are done in order. `columns` counts
    the filled cells of each column of the result, in the order the columns first appeared. `turn` counts how often it
    was handed to the engine; `parked` says that it waits for another job of its owner to end. `last_seq` is the number
    of its newest log line, which grows in the order of commits.
    """

    __tablename__ = "row_jobs"
    __table_args__ = (
        Index("ix_row_jobs_owner", "owner_id", "created_at", "id"),
        Index("ix_row_jobs_owner_status", "owner_id", "status", "id"),
        Index("ix_row_jobs_queue", "status", "lane", "id"),
        Index("ix_row_jobs_expiry", "status", "expires_at"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(40), unique=True, default=partial(job_uid, "j"))
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    job_type: Mapped[str] = mapped_column(String(40))
    lane: Mapped[str] = mapped_column(String(10))
    unit: Mapped[str] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(10), default=PENDING)
    params: Mapped[str] = deferred(mapped_column(Text))
    mode: Mapped[str | None] = mapped_column(String(20))
    notices: Mapped[list[str]] = mapped_column(JSON, default=list)
    ef_cost: Mapped[float] = mapped_column(Float, default=0.0)
    units: Mapped[int]
    ignored: Mapped[int] = mapped_column(default=0)
    processed: Mapped[int] = mapped_column(default=0)
    failed_units: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    rows: Mapped[int] = mapped_column(default=0)
    columns: Mapped[Mapping[str, int]] = mapped_column(JSON, default=dict)
    last_seq: Mapped[int] = mapped_column(default=0)
    turn: Mapped[int] = mapped_column(default=0)
    parked: Mapped[bool] = mapped_column(default=False)
    error: Mapped[str | None] = mapped_column(Text)
    source_job_id: Mapped[str | None] = mapped_column(String(64))
    pipeline_id: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]

    @property
    def has_result(self) -> bool:
        """Whether there is something to download: all of it when the job is done, a part when it ended before."""
        return self.status == DONE or (self.status in ENDED and self.rows > 0)

    @property
    def seconds(self) -> float | None:
        """How long a job that has ended took; None before its end, or when it never began."""
        worked = self.completed_at - self.started_at if self.completed_at and self.started_at else None
        return round(worked.total_seconds(), 3) if worked else None


class RowJobItems(Base):
    """Some of the rows a job works on, as a JSON array, from the unit `first` on."""

    __tablename__ = "row_job_items"

    job_id: Mapped[int] = mapped_column(ForeignKey("row_jobs.id", ondelete="CASCADE"), primary_key=True)
    first: Mapped[int] = mapped_column(primary_key=True)
    count: Mapped[int]
    data: Mapped[bytes] = mapped_column(LargeBinary)


class RowJobRows(Base):
    """Some of the rows of a job's result, as a JSON array, from the row `first` on."""

    __tablename__ = "row_job_rows"

    job_id: Mapped[int] = mapped_column(ForeignKey("row_jobs.id", ondelete="CASCADE"), primary_key=True)
    first: Mapped[int] = mapped_column(primary_key=True)
    count: Mapped[int]
    data: Mapped[bytes] = mapped_column(LargeBinary)


class RowJobLog(Base):
    """A line of a job's log; `seq` counts from 1 without gaps."""

    __tablename__ = "row_job_logs"

    job_id: Mapped[int] = mapped_column(ForeignKey("row_jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    level: Mapped[str] = mapped_column(String(5))
    message: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(default=now)


class RowJobStream(Base):
    """An open stream of a user, held by a worker that renews it; a dead worker's run out by themselves."""

    __tablename__ = "row_job_streams"
    __table_args__ = (Index("ix_row_job_streams_user", "user_id", "until"),)

    uid: Mapped[str] = mapped_column(String(40), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    worker: Mapped[str] = mapped_column(String(40), index=True)
    until: Mapped[datetime]
