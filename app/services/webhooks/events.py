"""What may be announced, who takes it, and the outbox it is put into in the transaction at hand."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from sqlalchemy import func, select

from app import engine
from app.services.webhooks.shaping import shaped
from models.base import now, session
from models.views.fields import rfc3339
from models.webhooks import Webhook, WebhookMessage

Json = dict[str, Any]
TASK: Final = "webhook"
TEST: Final = "webhook.test"
EVERYTHING: Final = "*"
PENDING, DELIVERED, FAILED = "pending", "delivered", "failed"
# Types that this server announces, and what each one tells of. A type is added with the code that announces it.
EVENTS: Final[Mapping[str, str]] = {
    TEST: "Somebody asked for a test.",
    "trace.error": "Model calls failed; the failures of one batch with one cause are one event.",
    "alert.fired": "A figure of the calls passed a threshold: failures, latency, changed answers, ratings, odd calls.",
    "cost.threshold": "A budget came to a share of itself at which notice is given.",
    "spend.cap_exceeded": "A budget is spent, or a call found no room in it.",
    "guardrail.violation": "A guardrail found something; what one found in a batch of calls is one event.",
    "trust.violation": "A call broke a trust policy; what one policy found in a batch of calls is one event.",
    "upgrade.pii_detected": "Guardrails found personal data; told again after six hours.",
    "circuit.opened": "A worker keeps calls away from a provider that failed repeatedly.",
    "circuit.closed": "It lets them through again.",
    "provider.health_changed": "A check of a provider came to another verdict than the last one.",
    "key.created": "A key was made.",
    "key.revoked": "A key was ended, or is about to be, once its successor was made.",
    "module.toggled": "A module was switched on or off.",
    "config.updated": "Routes or several modules were changed at once.",
    "cron.completed": "A scheduled prompt was answered.",
    "cron.failed": "A scheduled prompt was not answered, or refused: its user is disabled, or has no budget left.",
    "user.signed_up": "Somebody has an account now.",
    "prices.imported": "The operator imported prices.",
    "relay.answered": "A model answered what was sent to a relay; with the answer.",
    "relay.failed": "What was sent to a relay found no answer.",
    "upgrade.trace_milestone_100": "A hundred calls were recorded.",
    "upgrade.trace_milestone_500": "Five hundred calls were recorded.",
    "upgrade.trace_milestone_1000": "A thousand calls were recorded.",
    "upgrade.trace_milestone_5000": "Five thousand calls were recorded.",
    "upgrade.error_rate_high": "A tenth or more of the last hours' calls failed.",
}
# A receiver that is this far behind hears of nothing further until it has caught up or is disabled.
MOST_PENDING: Final = 5_000


def announce(type_: str, data: Json) -> None:
    """Put an event into the outbox of everybody who takes it: sent once this transaction is committed, or never.

    KeyError when the type is not in `EVENTS`.
    """
    EVENTS[type_]
    # Held against deletion, which would make the insertion, and with it the caller's transaction, fail.
    enabled = select(Webhook).where(Webhook.enabled).with_for_update(read=True, key_share=True)
    queue([hook for hook in session().scalars(enabled) if takes(hook.events, type_)], type_, data)


def queue(hooks: Iterable[Webhook], type_: str, data: Json) -> list[str]:
    """Put an event into the outbox of these receivers; the ids of its messages."""
    taking = [hook for hook in hooks if _pending(hook) < MOST_PENDING]
    if not taking:
        return []
    moment = now()
    body, shape = shaped(session(), type_, {"type": type_, "timestamp": rfc3339(moment), "data": data})
    said = {"event_type": type_, "body": body, "shape": shape, "created_at": moment}
    rows = [WebhookMessage(uid=_uid(), webhook_id=hook.id, **said) for hook in taking]
    session().add_all(rows)
    session().flush()
    for row in rows:
        hand_over(row)
    return [row.uid for row in rows]


def hand_over(message: WebhookMessage) -> None:
    """Have a message sent when it is due; each turn is a task of its own."""
    engine.submit(TASK, f"{message.id}.{message.turns + 1}", at=message.next_try_at)


def takes(patterns: Collection[str], type_: str) -> bool:
    """Whether somebody who asked for these takes the type: by its name, by a beginning before `*`, or all."""
    return any(_matches(pattern, type_) for pattern in patterns)


def unknown(patterns: Iterable[str]) -> list[str]:
    """Those of these names and beginnings that no type of this server answers to."""
    return [pattern for pattern in patterns if not any(_matches(pattern, type_) for type_ in EVENTS)]


def _matches(pattern: str, type_: str) -> bool:
    return type_.startswith(pattern[:-1]) if pattern.endswith(EVERYTHING) else pattern == type_


def _uid() -> str:
    return f"msg_{secrets.token_hex(12)}"


def _pending(hook: Webhook) -> int:
    held = (WebhookMessage.webhook_id == hook.id, WebhookMessage.status == PENDING)
    return session().scalar(select(func.count()).select_from(WebhookMessage).where(*held)) or 0
