"""Trust: policies on what models are asked and answer, the ledger of what was done about it, evidence and feedback."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, RowId, now


class TrustPolicy(Base):
    """A policy. Each of `rules` has a `pattern` in RE2's syntax, its `target` and a `description`.

    `models` are names and globs, `max_cost_nano` nano-dollars; null where the policy says nothing of it.
    """

    __tablename__ = "trust_policies"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    type: Mapped[str] = mapped_column(String(10))
    description: Mapped[str] = mapped_column(String(500), default="")
    enabled: Mapped[bool] = mapped_column(default=True)
    rules: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    models: Mapped[list[str]] = mapped_column(JSON, default=list)
    models_mode: Mapped[str] = mapped_column(String(5), default="allow")
    max_tokens: Mapped[int | None]
    max_cost_nano: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


class LedgerEntry(Base):
    """One entry of the ledger; rows are only ever added. Numbers have no gaps.

    `detail` is compact JSON with sorted keys. `hash` is SHA-256 over all of the entry and the hash before it.
    """

    __tablename__ = "ledger_entries"
    __table_args__ = (
        Index("ix_ledger_entries_event_type", "event_type", "id"),
        Index("ix_ledger_entries_actor", "actor", "id"),
        Index("ix_ledger_entries_created_at", "created_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    event_type: Mapped[str] = mapped_column(String(60))
    actor: Mapped[str] = mapped_column(String(200))
    resource: Mapped[str] = mapped_column(String(300))
    action: Mapped[str] = mapped_column(String(100))
    detail: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    prev_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class LedgerChain(Base):
    """The ledger's end, one row: its last number and hash. Whoever appends holds it until they are done."""

    __tablename__ = "ledger_chains"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(default=0)
    hash: Mapped[str] = mapped_column(String(64), default="")


class TrustEvidence(Base):
    """A pack of evidence: what the ledger held of a span of time, by count and hash, with what else was submitted.

    `entries_hash` is SHA-256 over the hashes of those entries, `hash` over all of the pack.
    """

    __tablename__ = "trust_evidence"

    number: Mapped[int] = mapped_column(RowId, primary_key=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(String(2000), default="")
    type: Mapped[str] = mapped_column(String(60), default="")
    content: Mapped[str] = mapped_column(Text, default="")
    attachments: Mapped[list[dict[str, str]]] = mapped_column(JSON, default=list)
    date_from: Mapped[datetime]
    date_to: Mapped[datetime]
    event_count: Mapped[int]
    entries_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]


class TrustFeedback(Base):
    """What somebody thought of an answer. `user_id` is who said so with a key of their own, and goes with them."""

    __tablename__ = "trust_feedback"
    __table_args__ = (
        Index("ix_trust_feedback_request_id", "request_id", "id"),
        Index("ix_trust_feedback_user_id", "user_id"),
        Index("ix_trust_feedback_user_email", "user_email"),
        Index("ix_trust_feedback_created_at", "created_at"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    request_id: Mapped[str] = mapped_column(String(128))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    user_email: Mapped[str | None] = mapped_column(String(320))
    rating: Mapped[int]
    comment: Mapped[str] = mapped_column(Text, default="")
    tags: Mapped[list[str]] = mapped_column(JSON, default=list)
    created_at: Mapped[datetime] = mapped_column(default=now)
