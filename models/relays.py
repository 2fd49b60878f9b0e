"""What third parties sent to relays, until a model has answered it, and what became of it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, RowId, now

WAITING, ANSWERED, FAILED = "waiting", "answered", "failed"


class RelayDelivery(Base):
    """One webhook that was taken in: `message` is its sender's id, of which a relay has one delivery.

    What the model is asked is kept sealed, and only while the delivery waits. `turns` are those that were taken.
    """

    __tablename__ = "relay_deliveries"
    __table_args__ = (
        Index("uq_relay_deliveries_relay_message", "relay", "message", unique=True),
        Index("ix_relay_deliveries_relay_created_at", "relay", "created_at"),
        Index("ix_relay_deliveries_created_at", "created_at"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(40), unique=True)
    relay: Mapped[str] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(String(200))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    project: Mapped[str] = mapped_column(String(100))
    model: Mapped[str] = mapped_column(String(200))
    max_tokens: Mapped[int]
    sealed_prompt: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(10), default=WAITING)
    turns: Mapped[int] = mapped_column(default=0)
    trace_id: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=now)
    ended_at: Mapped[datetime | None]
