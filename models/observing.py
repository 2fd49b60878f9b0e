"""What is kept of calls beside their traces: how figures spread, the alerts they raised, and the chained log."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, now


class Spread(Base):
    """How many calls of one slot of time had a figure within a bucket.

    A slot begins at `minute` (since the epoch) and is `width` minutes long. Buckets are narrow enough that a percentile
    read from them is right to 3 %. Provider and model are empty where all calls count together.
    """

    __tablename__ = "call_spreads"

    width: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    measure: Mapped[str] = mapped_column(String(12), primary_key=True)
    minute: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    provider: Mapped[str] = mapped_column(String(64), primary_key=True)
    model: Mapped[str] = mapped_column(String(256), primary_key=True)
    bucket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    calls: Mapped[int]


class RaisedAlert(Base):
    """An alert that was raised: when last, how often, at which figure, and since when its reason is over, if it is."""

    __tablename__ = "raised_alerts"

    source: Mapped[str] = mapped_column(String(32), primary_key=True)
    rule: Mapped[str] = mapped_column(String(400), primary_key=True)
    raised_at: Mapped[datetime]
    times: Mapped[int]
    figure: Mapped[float]
    threshold: Mapped[float]
    over_at: Mapped[datetime | None]


class LoggedExchange(Base):
    """One exchange of the chained log. `hash` is SHA-256 of the hash before it, the number and the content.

    `content` is canonical JSON: what the trace held when it was stored.
    """

    __tablename__ = "logged_exchanges"
    __table_args__ = (Index("ix_logged_exchanges_created_at", "created_at"),)

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    trace_id: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    hash: Mapped[str] = mapped_column(String(64))
    content: Mapped[bytes] = mapped_column(LargeBinary)


class ExchangeChain(Base):
    """The chained log's ends, one row: its last entry, the last one that retention took, and what a check found."""

    __tablename__ = "exchange_chains"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(default=0)
    hash: Mapped[str] = mapped_column(String(64), default="")
    pruned_number: Mapped[int] = mapped_column(default=0)
    pruned_hash: Mapped[str] = mapped_column(String(64), default="")
    checked_at: Mapped[datetime | None]
    broken_at: Mapped[int | None]
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


class UsualCall(Base):
    """What is usual of a user's answered calls to a model; user 0 stands for those that are nobody's.

    Size (tokens) and cost (nano-dollars) are logarithms of one more than the figure: mean and variance of so many
    values. The clock is the mean direction of the hours with a call, each counted once.
    """

    __tablename__ = "usual_calls"
    __table_args__ = (Index("ix_usual_calls_seen_at", "seen_at"),)

    user_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    provider: Mapped[str] = mapped_column(String(64), primary_key=True)
    model: Mapped[str] = mapped_column(String(256), primary_key=True)
    calls: Mapped[int] = mapped_column(default=0)
    size_mean: Mapped[float] = mapped_column(default=0.0)
    size_variance: Mapped[float] = mapped_column(default=0.0)
    priced: Mapped[int] = mapped_column(default=0)
    cost_mean: Mapped[float] = mapped_column(default=0.0)
    cost_variance: Mapped[float] = mapped_column(default=0.0)
    hours: Mapped[int] = mapped_column(default=0)
    last_hour: Mapped[int] = mapped_column(default=-1)
    clock_across: Mapped[float] = mapped_column(default=0.0)
    clock_up: Mapped[float] = mapped_column(default=0.0)
    seen_at: Mapped[datetime] = mapped_column(default=now)


class DataFlow(Base):
    """How many examined calls carried a kind of personal data to a provider, for a project; nothing of the data.

    The empty kind counts every examined call, the empty project those of all that came after too many.
    """

    __tablename__ = "data_flows"

    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    provider: Mapped[str] = mapped_column(String(64), primary_key=True)
    project: Mapped[str] = mapped_column(String(100), primary_key=True)
    calls: Mapped[int]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]


class CostCell(Base):
    """What the calls of one UTC day with the same project, feature, template, model and user came to.

    Empty where a call had none; user 0 is nobody. `day` is days since the epoch.
    """

    __tablename__ = "cost_cells"
    __table_args__ = (Index("ix_cost_cells_user_id", "user_id"),)

    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    project: Mapped[str] = mapped_column(String(100), primary_key=True)
    feature: Mapped[str] = mapped_column(String(200), primary_key=True)
    template: Mapped[str] = mapped_column(String(200), primary_key=True)
    model: Mapped[str] = mapped_column(String(256), primary_key=True)
    user_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    calls: Mapped[int]
    unpriced: Mapped[int]
    tokens: Mapped[int]
    cost_nano: Mapped[int]


class CohortMember(Base):
    """The project of a user's first call, noted while its trace was kept."""

    __tablename__ = "cohort_members"

    user_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    project: Mapped[str] = mapped_column(String(100))


class CohortView(Base):
    """Groups of users as they are shown, by the length of a step and what makes a group, and when they were made."""

    __tablename__ = "cohort_views"

    step: Mapped[str] = mapped_column(String(10), primary_key=True)
    grouped: Mapped[str] = mapped_column(String(12), primary_key=True)
    content: Mapped[dict[str, Any]] = mapped_column(JSON)
    made_at: Mapped[datetime]
