"""Answers that all workers share, sealed, and the number that makes older ones unreachable."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, RowId


class CacheEpoch(Base):
    """One row, raised when nothing that was kept until now may be given again. It is part of every cache key."""

    __tablename__ = "cache_epochs"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(default=0)


class CachedAnswer(Base):
    """One answer under the hash of what was asked. `size` is the bytes of `sealed`; it goes with its user."""

    __tablename__ = "cached_answers"
    __table_args__ = (
        Index("uq_cached_answers_key", "key", unique=True),
        Index("ix_cached_answers_expires_at", "expires_at", "size"),
        Index("ix_cached_answers_user_id", "user_id"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    key: Mapped[str] = mapped_column(String(64))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    epoch: Mapped[int]
    size: Mapped[int]
    expires_at: Mapped[datetime]
    sealed: Mapped[str] = mapped_column(Text)
