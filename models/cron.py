"""Prompts on a schedule: when each job is due next, and how its firings ended."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class CronJob(Base):
    """A job of the module's settings. `plan` is the schedule that `due_at` was worked out by; null: it rests.

    `begun_at` and `told_at` are the last firings that were begun and whose end was announced. `missed` are those left
    out because nothing ran in their time.
    """

    __tablename__ = "cron_jobs"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    plan: Mapped[str] = mapped_column(String(200))
    due_at: Mapped[datetime | None]
    begun_at: Mapped[datetime | None]
    told_at: Mapped[datetime | None]
    completed: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    refused: Mapped[int] = mapped_column(default=0)
    missed: Mapped[int] = mapped_column(default=0)
