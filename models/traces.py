"""Traces of model calls and the rollups written with them, so that no dashboard scans traces."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, RowId, now


class Trace(Base):
    """One model call. `cost_nano` is nano-dollars and null when the price is not known."""

    __tablename__ = "traces"
    __table_args__ = (
        Index("ix_traces_created_at", "created_at", "seq"),
        Index("ix_traces_model", "model", "seq"),
        Index("ix_traces_status", "status", "seq"),
        Index("ix_traces_provider", "provider", "seq"),
        Index("ix_traces_user_id", "user_id", "seq"),
        Index("ix_traces_project", "project", "seq"),
        Index("ix_traces_request_id", "request_id", "seq"),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(RowId, primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    request_id: Mapped[str] = mapped_column(String(128))
    parent_id: Mapped[str | None] = mapped_column(String(64))
    service: Mapped[str] = mapped_column(String(64), default="proxy")
    operation: Mapped[str] = mapped_column(String(64))
    provider: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(256))
    status: Mapped[str] = mapped_column(String(20))
    http_status: Mapped[int] = mapped_column(default=200)
    error: Mapped[str | None] = mapped_column(String(1000))
    stream: Mapped[bool] = mapped_column(default=False)
    attempts: Mapped[int] = mapped_column(default=1)
    duration_us: Mapped[int] = mapped_column(default=0)
    first_byte_us: Mapped[int | None]
    tokens_in: Mapped[int] = mapped_column(default=0)
    tokens_out: Mapped[int] = mapped_column(default=0)
    tokens_cached: Mapped[int] = mapped_column(default=0)
    tokens_reasoning: Mapped[int] = mapped_column(default=0)
    usage_source: Mapped[str] = mapped_column(String(10), default="reported")
    cost_nano: Mapped[int | None]
    saved_nano: Mapped[int] = mapped_column(default=0)
    user_id: Mapped[int | None]
    key_id: Mapped[int | None]
    project: Mapped[str] = mapped_column(String(100), default="default")
    source: Mapped[str] = mapped_column(String(20), default="real")
    tags: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    # `metadata` is SQLAlchemy's own word.
    details: Mapped[Any] = mapped_column(JSON, default=dict)
    created_at: Mapped[datetime] = mapped_column(default=now)


class TraceBody(Base):
    """The request and response of a trace, cut to the configured size; kept apart so that lists stay light."""

    __tablename__ = "trace_bodies"

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    request: Mapped[bytes | None] = mapped_column(LargeBinary)
    response: Mapped[bytes | None] = mapped_column(LargeBinary)


class ExportPosition(Base):
    """How far an export of the traces has come: `seq` of the last one that was taken."""

    __tablename__ = "export_positions"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    seq: Mapped[int]
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


class TraceTag(Base):
    """A trace under each of its tags, `key=value`, so that a list by tag needs no scan."""

    __tablename__ = "trace_tags"
    __table_args__ = ({"sqlite_with_rowid": False},)

    tag: Mapped[str] = mapped_column(String(200), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class TraceCount(Base):
    """How many traces are kept of each kind: a list's total without counting its rows."""

    __tablename__ = "trace_counts"

    source: Mapped[str] = mapped_column(String(20), primary_key=True)
    status: Mapped[str] = mapped_column(String(20), primary_key=True)
    provider: Mapped[str] = mapped_column(String(64), primary_key=True)
    model: Mapped[str] = mapped_column(String(256), primary_key=True)
    project: Mapped[str] = mapped_column(String(100), primary_key=True)
    traces: Mapped[int]


class UsageSums:
    """What the calls of one provider and model came to."""

    provider: Mapped[str] = mapped_column(String(64), primary_key=True)
    model: Mapped[str] = mapped_column(String(256), primary_key=True)
    requests: Mapped[int]
    errors: Mapped[int]
    cache_hits: Mapped[int]
    unpriced: Mapped[int]
    tokens_in: Mapped[int]
    tokens_out: Mapped[int]
    cost_nano: Mapped[int]
    saved_nano: Mapped[int]
    duration_us: Mapped[int]


class UsageRollup(UsageSums, Base):
    """Calls of one hour by provider and model. `hour` is hours since the epoch."""

    __tablename__ = "usage_rollups"

    hour: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, sort_order=-1)


class UsageDay(UsageSums, Base):
    """Calls of one UTC day by provider and model, so that a year is few rows. `day` is days since the epoch."""

    __tablename__ = "usage_days"

    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, sort_order=-1)


class SpendRollup(Base):
    """Calls of one UTC day by who pays. `scope` is user, key, project, or tag; `ref` says which."""

    __tablename__ = "spend_rollups"
    __table_args__ = (Index("ix_spend_rollups_scope", "scope", "ref", "day"),)

    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    scope: Mapped[str] = mapped_column(String(10), primary_key=True)
    ref: Mapped[str] = mapped_column(String(200), primary_key=True)
    model: Mapped[str] = mapped_column(String(256), primary_key=True)
    requests: Mapped[int]
    unpriced: Mapped[int]
    tokens_in: Mapped[int]
    tokens_out: Mapped[int]
    cost_nano: Mapped[int]
