"""What the gateway remembers of conversations, so that callers need not send them again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, RowId, now


class ChatMemory(Base):
    """One user's conversation in one project: the latest turns as `[role, text]`, oldest first."""

    __tablename__ = "chat_memories"
    __table_args__ = (
        Index("uq_chat_memories_owner", "user_id", "project", unique=True),
        Index("ix_chat_memories_updated_at", "updated_at"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    project: Mapped[str] = mapped_column(String(100))
    turns: Mapped[list[Any]] = mapped_column(JSON)
    updated_at: Mapped[datetime] = mapped_column(default=now)
