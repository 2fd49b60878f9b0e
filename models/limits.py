"""What limits count when several workers have no Redis: one row per key and window."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class RateWindow(Base):
    """Hits counted under a key until `ends_at`. `key` is a hash: addresses and e-mails are not kept in clear."""

    __tablename__ = "rate_windows"
    __table_args__ = (Index("ix_rate_windows_ends_at", "ends_at"),)

    key: Mapped[str] = mapped_column(String(32), primary_key=True)
    hits: Mapped[int]
    ends_at: Mapped[datetime]
