"""Durable work: tasks that were accepted, the workers that are alive, and when schedules are next due."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, RowId, now


class EngineTask(Base):
    """One accepted task. `state` is queued, running, done, failed or cancelled; `executor` is who holds it."""

    __tablename__ = "engine_tasks"
    __table_args__ = (
        Index("uq_engine_tasks_key", "kind", "key", unique=True),
        Index("ix_engine_tasks_due", "state", "kind", "due_at", "id"),
        Index("ix_engine_tasks_ended", "ended_at"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    key: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(10), default="queued")
    queued_at: Mapped[datetime] = mapped_column(default=now)
    due_at: Mapped[datetime] = mapped_column(default=now)
    began_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    executor: Mapped[str | None] = mapped_column(String(40))
    attempts: Mapped[int] = mapped_column(default=0)
    cancelled: Mapped[bool] = mapped_column(default=False)
    error: Mapped[str | None] = mapped_column(String(100))


class EngineLease(Base):
    """A worker that lives for as long as it keeps its heartbeat young."""

    __tablename__ = "engine_leases"

    executor: Mapped[str] = mapped_column(String(40), primary_key=True)
    heartbeat: Mapped[datetime] = mapped_column(index=True)


class EngineSchedule(Base):
    """When something periodic is next due, and which worker is at it now."""

    __tablename__ = "engine_schedules"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    next_at: Mapped[datetime]
    executor: Mapped[str | None] = mapped_column(String(40))
