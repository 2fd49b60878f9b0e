"""Webhooks: where events are sent to, the outbox they wait in, and the log of every attempt."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, ForeignKey, Index, String, Text, func, select
from sqlalchemy.orm import Mapped, column_property, mapped_column

from models.base import Base, RowId, now

HOOK = "webhooks.id"
# Characters of a body that the log shows.
SHOWN = 1_000


class Webhook(Base):
    """A receiver. `fail_count` are failed attempts in a row, the first of them at `failing_since`."""

    __tablename__ = "webhooks"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    url: Mapped[str] = mapped_column(String(2048), unique=True)
    events: Mapped[list[str]] = mapped_column(JSON)
    sealed_secret: Mapped[str | None] = mapped_column(Text)
    enabled: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_fired: Mapped[datetime | None]
    fail_count: Mapped[int] = mapped_column(default=0)
    failing_since: Mapped[datetime | None]
    paused_until: Mapped[datetime | None]
    disabled_reason: Mapped[str | None] = mapped_column(String(100))


class WebhookMessage(Base):
    """The outbox: one event for one receiver. `status` is pending, delivered or failed.

    `shape` is what came of a template: shaped, too_large or not_json; null where there was none.
    """

    __tablename__ = "webhook_messages"
    __table_args__ = (
        Index("ix_webhook_messages_webhook", "webhook_id", "status"),
        Index("ix_webhook_messages_created", "created_at"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(40), unique=True)
    webhook_id: Mapped[int] = mapped_column(ForeignKey(HOOK, ondelete="CASCADE"))
    event_type: Mapped[str] = mapped_column(String(64))
    body: Mapped[str] = mapped_column(Text)
    shape: Mapped[str | None] = mapped_column(String(10))
    status: Mapped[str] = mapped_column(String(10), default="pending")
    tries: Mapped[int] = mapped_column(default=0)
    turns: Mapped[int] = mapped_column(default=0)
    next_try_at: Mapped[datetime | None] = mapped_column(default=now)
    created_at: Mapped[datetime] = mapped_column(default=now)


class WebhookDelivery(Base):
    """One attempt. `status_code` is null when no answer came; `response` is how the answer began.

    `payload` is how the body that was sent began, read from its message.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("ix_webhook_deliveries_webhook", "webhook_id", "id"),
        Index("ix_webhook_deliveries_message", "message_id"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    webhook_id: Mapped[int] = mapped_column(ForeignKey(HOOK, ondelete="CASCADE"))
    message_id: Mapped[int] = mapped_column(ForeignKey("webhook_messages.id", ondelete="CASCADE"))
    message: Mapped[str] = mapped_column(String(40))
    event_type: Mapped[str] = mapped_column(String(64))
    attempt: Mapped[int]
    success: Mapped[bool]
    status_code: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(String(300))
    response: Mapped[str | None] = mapped_column(String(1000))
    payload_size: Mapped[int]
    payload: Mapped[str | None] = column_property(
        select(func.substr(WebhookMessage.body, 1, SHOWN))
        .where(WebhookMessage.id == message_id, WebhookMessage.body != "")
        .correlate_except(WebhookMessage)
        .scalar_subquery()
    )
    latency_ms: Mapped[int]
    next_try_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
