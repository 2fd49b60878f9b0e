"""Budgets: a user's own caps, what counts against every cap, and what calls under way hold of them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, now


class SpendCap(Base):
    """A user's own budget in nano-dollars; 0 is no limit. A `soft` one lets calls pass and tells of it."""

    __tablename__ = "spend_caps"

    user_id: Mapped[int] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    daily_nano: Mapped[int] = mapped_column(default=0)
    monthly_nano: Mapped[int] = mapped_column(default=0)
    soft: Mapped[bool] = mapped_column(default=False)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


class SpendCounter(Base):
    """What one payer spent in one UTC day (`2026-11-22`) or month (`2026-11`), kept only where a cap applies.

    `spent_nano` is written with the traces and equals them; `reserved_nano` is what `spend_holds` hold. `version` grows
    with every change of what was spent. `noticed` is the highest share of a budget told of, in thousandths.
    """

    __tablename__ = "spend_counters"

    period: Mapped[str] = mapped_column(String(10), primary_key=True)
    scope: Mapped[str] = mapped_column(String(10), primary_key=True)
    ref: Mapped[str] = mapped_column(String(256), primary_key=True)
    spent_nano: Mapped[int] = mapped_column(default=0)
    reserved_nano: Mapped[int] = mapped_column(default=0)
    version: Mapped[int] = mapped_column(default=0)
    noticed: Mapped[int] = mapped_column(default=0)
    noticed_at: Mapped[datetime | None]


class SpendHold(Base):
    """Money that a call holds of one counter until its trace is stored: its worst case, then its cost."""

    __tablename__ = "spend_holds"
    __table_args__ = (Index("ix_spend_holds_expires_at", "expires_at"),)

    trace_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    period: Mapped[str] = mapped_column(String(10), primary_key=True)
    scope: Mapped[str] = mapped_column(String(10), primary_key=True)
    ref: Mapped[str] = mapped_column(String(256), primary_key=True)
    amount_nano: Mapped[int]
    expires_at: Mapped[datetime]
