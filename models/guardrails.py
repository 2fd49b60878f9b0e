"""Guardrail rules, what they found, and how often."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, RowId, now


class Guardrail(Base):
    """A rule: a pattern in RE2's syntax, matched without regard to case, and what happens to its matches."""

    __tablename__ = "guardrails"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    type: Mapped[str] = mapped_column(String(10), default="custom")
    pattern: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(String(10), default="log")
    project: Mapped[str] = mapped_column(String(100), default="*")
    enabled: Mapped[bool] = mapped_column(default=True)
    priority: Mapped[int] = mapped_column(default=0)
    description: Mapped[str] = mapped_column(String(500), default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


class GuardrailEvent(Base):
    """What a rule found in one call, without the text it found; `preview` is a few characters of a secret's ends."""

    __tablename__ = "guardrail_events"
    __table_args__ = (Index("ix_guardrail_events_created", "created_at", "id"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    created_at: Mapped[datetime]
    trace_id: Mapped[str] = mapped_column(String(64))
    request_id: Mapped[str] = mapped_column(String(128))
    rule_name: Mapped[str] = mapped_column(String(100))
    rule_type: Mapped[str] = mapped_column(String(10))
    action: Mapped[str] = mapped_column(String(10))
    direction: Mapped[str] = mapped_column(String(10))
    project: Mapped[str] = mapped_column(String(100))
    model: Mapped[str] = mapped_column(String(256))
    matches: Mapped[int]
    preview: Mapped[str] = mapped_column(String(16), default="")


class GuardrailCount(Base):
    """How many matches a rule had since it was first seen, by what was done with them."""

    __tablename__ = "guardrail_counts"

    rule_name: Mapped[str] = mapped_column(String(100), primary_key=True)
    action: Mapped[str] = mapped_column(String(10), primary_key=True)
    hits: Mapped[int]
