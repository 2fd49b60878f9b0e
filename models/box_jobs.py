"""Jobs on boxes: what was asked, what a box said of it line by line, and the files it made."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.base import Base, RowId, new_uid, now
from models.boxes import Box, BoxGroup
from models.identity import User
from models.orgs import Org

PENDING, UPLOADED, REJECTED = "pending", "uploaded", "failed"


class BoxJob(Base):
    """A command for a box, or for whichever box of a group takes it first; then `box_id` is set and stays.

    `sealed_env` holds the values of the environment, sealed; `env_names` may be seen. `dispatched_at` starts the clock:
    at `deadline_at` the job has run out of time. `delivered_at` is when a box was last handed the job: one that was
    handed it and never said so may ask again. `locked_box` tells that the job holds its box's lock. `log_count` grows
    with every stored line, so that who follows the job sees in one row whether there is more.
    """

    __tablename__ = "box_jobs"
    __table_args__ = (
        CheckConstraint("timeout_s > 0", name="ck_box_jobs_timeout"),
        Index("ix_box_jobs_org_newest", "org_id", "id"),
        Index("ix_box_jobs_org_status", "org_id", "status", "id"),
        Index("ix_box_jobs_box_status", "box_id", "status", "id"),
        Index("ix_box_jobs_group_status", "box_group_id", "status", "id"),
        Index("ix_box_jobs_status_deadline", "status", "deadline_at"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(36), unique=True, default=new_uid)
    org_id: Mapped[int] = mapped_column(ForeignKey("orgs.id", ondelete="CASCADE"))
    box_id: Mapped[int | None] = mapped_column(ForeignKey("boxes.id", ondelete="SET NULL"))
    box_group_id: Mapped[int | None] = mapped_column(ForeignKey("box_groups.id", ondelete="SET NULL"))
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    rerun_of_id: Mapped[int | None] = mapped_column(ForeignKey("box_jobs.id", ondelete="SET NULL"), index=True)
    command: Mapped[str] = mapped_column(Text)
    args: Mapped[list[str]] = mapped_column(JSON, default=list)
    script_name: Mapped[str | None] = mapped_column(String(200))
    env_names: Mapped[list[str]] = mapped_column(JSON, default=list)
    sealed_env: Mapped[str | None] = mapped_column(Text)
    timeout_s: Mapped[int]
    resource_lock: Mapped[bool] = mapped_column(default=False)
    required_capabilities: Mapped[list[str]] = mapped_column(JSON, default=list)
    status: Mapped[str] = mapped_column(String(20))
    exit_code: Mapped[int | None]
    failure_reason: Mapped[str | None] = mapped_column(String(200))
    cancel_reason: Mapped[str | None] = mapped_column(String(500))
    locked_box: Mapped[bool] = mapped_column(default=False)
    last_sequence: Mapped[int | None]
    log_count: Mapped[int] = mapped_column(default=0)
    artifact_count: Mapped[int] = mapped_column(default=0)
    queued_at: Mapped[datetime] = mapped_column(default=now)
    dispatched_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)

    org: Mapped[Org] = relationship()
    box: Mapped[Box | None] = relationship()
    box_group: Mapped[BoxGroup | None] = relationship()
    created_by: Mapped[User | None] = relationship()
    rerun_of: Mapped[BoxJob | None] = relationship(remote_side="BoxJob.id")


class BoxJobFile(Base):
    """A file a job brings to its box: the script, or another; kept with the job so that neither is there alone."""

    __tablename__ = "box_job_files"
    __table_args__ = (Index("uq_box_job_files_job_path", "job_id", "path", unique=True),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(36), unique=True, default=new_uid)
    job_id: Mapped[int] = mapped_column(ForeignKey("box_jobs.id", ondelete="CASCADE"))
    path: Mapped[str] = mapped_column(String(200))
    content: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)


class BoxJobLog(Base):
    """A line a job wrote. Its `sequence` is the box's count; rows of one job are numbered in the order they came.

    `size` is the line's length in bytes of UTF-8.
    """

    __tablename__ = "box_job_logs"
    __table_args__ = (
        Index("uq_box_job_logs_job_sequence", "job_id", "sequence", unique=True),
        Index("ix_box_job_logs_arrival", "job_id", "id"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("box_jobs.id", ondelete="CASCADE"))
    sequence: Mapped[int]
    stream: Mapped[str] = mapped_column(String(6))
    line: Mapped[str] = mapped_column(Text)
    size: Mapped[int]
    truncated: Mapped[bool] = mapped_column(default=False)
    written_at: Mapped[datetime]


class Artifact(Base):
    """A file a job made: announced, then uploaded to the store under its key, then confirmed by size and SHA-256."""

    __tablename__ = "box_job_artifacts"
    __table_args__ = (Index("uq_box_job_artifacts_job_name", "job_id", "name", unique=True),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(36), unique=True, default=new_uid)
    job_id: Mapped[int] = mapped_column(ForeignKey("box_jobs.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    content_type: Mapped[str] = mapped_column(String(100))
    size: Mapped[int | None]
    checksum: Mapped[str | None] = mapped_column(String(64))
    storage_key: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(10), default=PENDING)
    uploaded_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)

    job: Mapped[BoxJob] = relationship()
