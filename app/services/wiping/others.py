"""What else keeps words of calls: conversations, kept answers, previews of findings, and webhooks already told."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Delete, Select, Update, delete, select, update
from sqlalchemy.orm import Session

from app.gateway.idempotency.store import KEPT
from app.services.webhooks.events import PENDING
from app.services.wiping.calls import BATCH
from models.base import now
from models.chat import ChatMemory
from models.guardrails import GuardrailEvent
from models.idempotency import IdempotentCall
from models.webhooks import WebhookMessage
from models.wiping import TextWipe

Taken = tuple[Counter[str], bool]
# An answer is kept for a day from its end; a call has ended within another.
LONGEST_KEPT: Final = 2 * KEPT


def conversations(session: Session, _state: TextWipe, limit: datetime) -> Taken:
    """Delete conversations that fell silent before the limit."""
    old = select(ChatMemory.id).where(ChatMemory.updated_at < limit)
    return _taken(session, "conversations", delete(ChatMemory).where(ChatMemory.id.in_(_some(old))))


def answers(session: Session, _state: TextWipe, limit: datetime) -> Taken:
    """Delete answers kept for a repetition of calls begun before the limit; there are none once that is days ago."""
    if limit < now() - LONGEST_KEPT:
        return Counter(), False
    kept = (IdempotentCall.began_at < limit, IdempotentCall.sealed_answer.is_not(None))
    old = select(IdempotentCall.id).where(*kept)
    return _taken(session, "kept_answers", delete(IdempotentCall).where(IdempotentCall.id.in_(_some(old))))


def previews(session: Session, _state: TextWipe, limit: datetime) -> Taken:
    """Take the characters that findings before the limit show of what they found."""
    old = select(GuardrailEvent.id).where(GuardrailEvent.created_at < limit, GuardrailEvent.preview != "")
    taking = update(GuardrailEvent).where(GuardrailEvent.id.in_(_some(old))).values(preview="")
    return _taken(session, "previews", taking)


def messages(session: Session, _state: TextWipe, limit: datetime) -> Taken:
    """Take the bodies of webhooks before the limit that are sent or given up; their log stays."""
    over = (WebhookMessage.created_at < limit, WebhookMessage.status != PENDING, WebhookMessage.body != "")
    old = select(WebhookMessage.id).where(*over)
    taking = update(WebhookMessage).where(WebhookMessage.id.in_(_some(old))).values(body="")
    return _taken(session, "webhook_bodies", taking)


def _some(which: Select[Any]) -> Select[Any]:
    return which.limit(BATCH)


def _taken(session: Session, name: str, taking: Delete | Update) -> Taken:
    result: Any = session.execute(taking, execution_options={"synchronize_session": False})
    return Counter({name: result.rowcount}), result.rowcount == BATCH
