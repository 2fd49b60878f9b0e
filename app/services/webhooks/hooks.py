"""Webhooks as operators keep them: made, listed, tried, looked into and deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import Select, case, delete, func, select
from sqlalchemy.exc import IntegrityError

from app.outbound.addresses import RefusedAddressError
from app.outbound.post import usable
from app.problems import Problem, conflict, not_found
from app.runtime import runtime
from app.security.sealing import seal
from app.services.webhooks import signing
from app.services.webhooks.events import EVENTS, EVERYTHING, PENDING, TEST, queue, takes, unknown
from app.services.webhooks.sending import owner_of
from models.base import now, session
from models.webhooks import Webhook, WebhookDelivery, WebhookMessage

Json = dict[str, Any]
MOST_HOOKS = 100
MOST_PATTERNS = 50
MOST_TOLD, LONGEST_NAME = 5, 64
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A webhook to be made, checked so far as it can be outside a transaction."""

    url: str
    events: tuple[str, ...]
    secret: str = field(repr=False)


def checked(url: str, events: str | Sequence[str] = EVERYTHING, secret: str | None = None) -> Wanted:
    """What is asked for, once it was found fit; a 422 Problem otherwise. Looks the host up: no transaction may wait."""
    names = events.split(",") if isinstance(events, str) else events
    patterns = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    if told := _why_not(patterns):
        raise Problem(422, f"{told}. There are: {', '.join(EVENTS)}; a * at the end stands for any rest")
    if secret is not None and not signing.is_secret(secret):
        raise Problem(422, "The secret must be whsec_ and the base64 of 24 to 64 bytes")
    try:
        return Wanted(usable(url, runtime().settings.outbound_allowed), patterns, secret or signing.new_secret())
    except RefusedAddressError as error:
        raise Problem(422, f"The URL cannot be used: {error}") from None


def _why_not(patterns: Sequence[str]) -> str:
    """Why these cannot be taken; empty when they can."""
    if not 0 < len(patterns) <= MOST_PATTERNS:
        return f"At most {MOST_PATTERNS} events may be named" if patterns else "No event is named"
    strange = [name[:LONGEST_NAME] for name in unknown(patterns)]
    return f"Nothing here announces {', '.join(strange[:MOST_TOLD])}" if strange else ""


def add(wanted: Wanted) -> Webhook:
    """Make a webhook; a 409 Problem when there is one for the URL, or too many."""
    if (session().scalar(select(func.count(Webhook.id))) or 0) >= MOST_HOOKS:
        raise conflict(f"There are {MOST_HOOKS} webhooks, the most there may be; delete one first")
    hook = Webhook(url=wanted.url, events=list(wanted.events))
    try:
        with session().begin_nested():
            session().add(hook)
    except IntegrityError:
        raise conflict("A webhook for this URL exists; delete it first", field="url") from None
    hook.sealed_secret = seal(wanted.secret, owner_of(hook.id), runtime().secrets)
    return hook


def find() -> Select[Webhook]:
    """All of them."""
    return select(Webhook)


def get(hook_id: int) -> Webhook:
    """The webhook; a 404 Problem when there is none."""
    hook = session().get(Webhook, hook_id)
    if hook is None:
        raise not_found("Webhook")
    return hook


def remove(hook_id: int) -> None:
    """Delete it, with all that waits for it and its log; a 404 Problem when there is none."""
    gone = delete(Webhook).where(Webhook.id == hook_id).returning(Webhook.id)
    if session().scalar(gone) is None:
        raise not_found("Webhook")


def test(hook_id: int | None, message: str) -> list[str]:
    """Send a test to one webhook, whatever it takes, or to all that take tests; the ids of the messages.

    Problem 404, or 409 when it is disabled or none takes tests.
    """
    hooks = _named(hook_id) if hook_id else [h for h in _enabled() if takes(h.events, TEST)]
    sent = queue(hooks, TEST, {"message": message})
    if not sent:
        raise conflict("No webhook takes webhook.test now: name one by its id, or make one for it or for *")
    return sent


def _named(hook_id: int) -> list[Webhook]:
    hook = get(hook_id)
    if not hook.enabled:
        raise conflict(f"The webhook is disabled, as {hook.disabled_reason or 'it failed'}; delete it and make it anew")
    return [hook]


def _enabled() -> Sequence[Webhook]:
    return session().scalars(select(Webhook).where(Webhook.enabled).order_by(Webhook.id)).all()


def deliveries(hook_id: int) -> Select[WebhookDelivery]:
    """Its log; a 404 Problem when there is no such webhook."""
    return select(WebhookDelivery).where(WebhookDelivery.webhook_id == get(hook_id).id)


def stats(hook_id: int) -> Json:
    """What its log comes to, and how much waits; a 404 Problem when there is no such webhook."""
    mine = WebhookDelivery.webhook_id == get(hook_id).id
    failed = WebhookDelivery.success.is_(False)
    recent = case((failed & (WebhookDelivery.created_at > now() - HOUR), 1))
    counted = select(
        func.count(),
        func.count(case((WebhookDelivery.success, 1))),
        func.sum(WebhookDelivery.latency_ms),
        func.count(recent),
    )
    total, good, took, lately = (int(n or 0) for n in session().execute(counted.where(mine)).one())
    waiting = select(func.count(WebhookMessage.id)).where(
        WebhookMessage.webhook_id == hook_id, WebhookMessage.status == PENDING
    )
    return {
        "total_deliveries": total,
        "successful": good,
        "success_rate": round(good / total, 6) if total else 0.0,
        "avg_latency_ms": round(took / total, 1) if total else 0.0,
        "recent_failures_1h": lately,
        "pending": session().scalar(waiting) or 0,
    }
