"""What else keeps words of calls: conversations, kept answers, findings' previews, webhooks told, training data."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Delete, Select, Update, delete, select, update
from sqlalchemy.orm import Session

from app.gateway.idempotency.store import KEPT
from app.services.webhooks.events import PENDING
from app.services.wiping.calls import BATCH
from models.approvals import HeldCall
from models.base import now
from models.chat import ChatMemory
from models.guardrails import GuardrailEvent
from models.idempotency import IdempotentCall
from models.training import TrainingCall
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
    return _shown(session, GuardrailEvent, limit)


def held(session: Session, _state: TextWipe, limit: datetime) -> Taken:
    """Take the pieces of prompts that were shown before the limit to whoever was to approve them."""
    return _shown(session, HeldCall, limit)


def messages(session: Session, _state: TextWipe, limit: datetime) -> Taken:
    """Take the bodies of webhooks before the limit that are sent or given up; their log stays."""
    over = (WebhookMessage.created_at < limit, WebhookMessage.status != PENDING, WebhookMessage.body != "")
    old = select(WebhookMessage.id).where(*over)
    taking = update(WebhookMessage).where(WebhookMessage.id.in_(_some(old))).values(body="")
    return _taken(session, "webhook_bodies", taking)


def training_lines(session: Session, _state: TextWipe, limit: datetime) -> Taken:
    """Let go of calls before the limit in files of training data, which are then written again without them."""
    old = select(TrainingCall.seq).where(TrainingCall.created_at < limit)
    return _taken(session, "training_lines", delete(TrainingCall).where(TrainingCall.seq.in_(_some(old))))


def _shown(session: Session, table: type[GuardrailEvent | HeldCall], limit: datetime) -> Taken:
    old = select(table.id).where(table.created_at < limit, table.preview != "")
    return _taken(session, "previews", update(table).where(table.id.in_(_some(old))).values(preview=""))


def _some(which: Select[Any]) -> Select[Any]:
    return which.limit(BATCH)


def _taken(session: Session, name: str, taking: Delete | Update) -> Taken:
    result: Any = session.execute(taking, execution_options={"synchronize_session": False})
    return Counter({name: result.rowcount}), result.rowcount == BATCH
