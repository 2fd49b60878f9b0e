"""Calls that are held until a person decides, and what became of them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.base import Base, RowId, now
from models.identity import User

WAITING, APPROVED, REJECTED, EXPIRED, ABANDONED = "waiting", "approved", "rejected", "expired", "abandoned"


class HeldCall(Base):
    """A call that was held. `fingerprint` is a keyed digest of whose it is and what it asks: that itself is not kept.

    While it waits, its worker puts `alive_until` off; a row whose moment has passed was left by a dead one. `preview`
    is a piece of the prompt without keys and personal data, and goes with the wait unless `keeps_preview`.
    """

    __tablename__ = "held_calls"
    __table_args__ = (
        Index("ix_held_calls_status", "status", "id"),
        Index("ix_held_calls_fingerprint", "fingerprint", "ended_at"),
        Index("ix_held_calls_created_at", "created_at"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    status: Mapped[str] = mapped_column(String(10), default=WAITING)
    fingerprint: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(String(10))
    rule: Mapped[str] = mapped_column(String(200), default="")
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    key_id: Mapped[int | None]
    project: Mapped[str] = mapped_column(String(100))
    model: Mapped[str] = mapped_column(String(256))
    operation: Mapped[str] = mapped_column(String(20))
    stream: Mapped[bool]
    cost_nano: Mapped[int | None]
    preview: Mapped[str] = mapped_column(Text, default="")
    keeps_preview: Mapped[bool] = mapped_column(default=False)
    trace_id: Mapped[str] = mapped_column(String(64))
    request_id: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    alive_until: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    decided_by: Mapped[str] = mapped_column(String(40), default="")
    note: Mapped[str] = mapped_column(String(500), default="")

    user: Mapped[User | None] = relationship(viewonly=True, lazy="raise")
