"""Which calls are in which file of training data, and how far the looking for them has come."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class TrainingCall(Base):
    """A call whose line is in a file: `digest` is BLAKE2 of the line. `seq` and `created_at` are those of its trace."""

    __tablename__ = "training_calls"
    __table_args__ = (
        Index("ix_training_calls_number", "number"),
        Index("ix_training_calls_user_id", "user_id"),
        Index("ix_training_calls_created_at", "created_at"),
    )

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    trace_id: Mapped[str] = mapped_column(String(64))
    user_id: Mapped[int | None]
    number: Mapped[int]
    digest: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime]


class TrainingFile(Base):
    """A file as it was last written: its lines, its size, and the form of the lines; size 0 once somebody took it."""

    __tablename__ = "training_files"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    form: Mapped[str] = mapped_column(String(16))
    lines: Mapped[int]
    size: Mapped[int]


class TrainingSearch(Base):
    """One row. Feedback up to the number `reached` was looked at under the terms `terms`; calls written and not."""

    __tablename__ = "training_searches"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    terms: Mapped[str] = mapped_column(String(100), default="")
    reached: Mapped[int] = mapped_column(default=0)
    written: Mapped[int] = mapped_column(default=0)
