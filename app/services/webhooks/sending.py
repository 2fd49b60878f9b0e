"""Sends what waits in the outbox: signed, logged, again after a failure that may pass, and no more once hopeless."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

from sqlalchemy import Engine, delete, select, update
from sqlalchemy.orm import Session

from app.engine import Context
from app.outbound.post import Outcome, post
from app.security.redact import redact
from app.security.sealing import UnsealError, unseal
from app.security.secrets import Secrets
from app.services.webhooks import signing
from app.services.webhooks.events import DELIVERED, FAILED, PENDING, hand_over
from app.services.webhooks.shaping import content_type
from models.base import now, transaction
from models.webhooks import Webhook, WebhookDelivery, WebhookMessage

log = logging.getLogger("yardmaster.webhooks")
Json = dict[str, Any]
AGENT: Final = "Yardmaster-Webhooks/0.1"
# After the first attempt: the schedule that Standard Webhooks recommends, three days in all.
WAITS: Final = tuple(timedelta(seconds=s) for s in (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400))
JITTER: Final = 0.2
LONGEST_ASKED: Final = timedelta(days=1)
# While a receiver does not answer, its messages are put off together instead of each waiting for it in vain: for half
# as long as it has failed by then.
SHORTEST_PAUSE, LONGEST_PAUSE = timedelta(seconds=1), timedelta(minutes=5)
# Disabled once so many attempts in a row failed over so long.
MOST_FAILURES: Final = 10
FAILING_FOR: Final = timedelta(days=1)
KEPT: Final = timedelta(days=30)
BATCH: Final = 500
LONGEST_EXCERPT: Final = 1_000
GONE: Final = "it answered 410 Gone"


@dataclass(frozen=True, slots=True)
class Sending:
    """Carries the turns out. A crash between the receiver's yes and our note sends a message twice, under one id."""

    engine: Engine
    secrets: Secrets
    allowed: tuple[str, ...]

    def __call__(self, key: str, context: Context) -> None:
        """Give a message its turn; the key is its number and the number of the turn."""
        number, _, turn = key.partition(".")
        found = self._due(int(number), int(turn))
        if found is None:
            return
        message, hook = found
        if hook.paused_until and hook.paused_until > now():
            self._put_off(message, hook.paused_until)
            return
        told = context.step("send", lambda: self._send(message, hook))
        self._note(message, told)

    def sweep(self, context: Context) -> None:
        """Forget what is a month old; its deliveries go with each message."""
        old = select(WebhookMessage.id).where(WebhookMessage.created_at < now() - KEPT).limit(BATCH)
        expire = delete(WebhookMessage).where(WebhookMessage.id.in_(old)).returning(WebhookMessage.id)
        gone = BATCH
        while gone == BATCH:
            with transaction(self.engine) as session:
                gone = len(session.scalars(expire, execution_options={"synchronize_session": False}).all())
            context.pause(0.05)

    def _due(self, number: int, turn: int) -> tuple[WebhookMessage, Webhook] | None:
        with transaction(self.engine, write=False) as session:
            message = session.get(WebhookMessage, number)
            if message is None or message.status != PENDING or message.turns >= turn:
                return None
            return message, session.get_one(Webhook, message.webhook_id)

    def _send(self, message: WebhookMessage, hook: Webhook) -> Json:
        """One attempt, in words that a crash does not lose."""
        body, moment = message.body.encode(), now()
        try:
            secret = unseal(hook.sealed_secret or "", owner_of(hook.id), self.secrets)
        except UnsealError:
            return _told(Outcome(None, "its secret cannot be opened: delete the webhook and make it anew"))
        told = {"Content-Type": content_type(body), "User-Agent": AGENT, "X-Stockyard-Event": message.event_type}
        signed = signing.headers(secret, message.uid, body, moment)
        return _told(post(hook.url, told | signed, body, self.allowed))

    def _put_off(self, message: WebhookMessage, until: datetime) -> None:
        values = {"turns": message.turns + 1, "next_try_at": until + _some(timedelta(seconds=2))}
        with transaction(self.engine) as session:
            _move(session, message, values)

    def _note(self, message: WebhookMessage, told: Json) -> None:
        """The attempt into the log, and what it means for the message and for its receiver."""
        with transaction(self.engine) as session:
            hook = session.get(Webhook, message.webhook_id, with_for_update={"key_share": True})
            if hook is None:
                return
            tries, success = message.tries + 1, _succeeded(told)
            due = None if success else _next(tries, told)
            _judge(hook, told)
            due = due if hook.enabled else None
            status = DELIVERED if success else PENDING if due else FAILED
            values = {"tries": tries, "turns": message.turns + 1, "status": status, "next_try_at": due}
            if _move(session, message, values):
                session.add(_entry(message, told, tries, due))
            if not hook.enabled:
                _give_up(session, hook)


def owner_of(hook_id: int) -> str:
    """What a webhook's secret is sealed for."""
    return f"webhook:{hook_id}"


def _told(outcome: Outcome) -> Json:
    excerpt = redact(outcome.excerpt.decode("utf-8", "replace").replace("\0", ""))
    return {
        "status": outcome.status,
        "error": outcome.error,
        "response": excerpt[:LONGEST_EXCERPT],
        "retry_after": outcome.retry_after,
        "latency_ms": outcome.latency_ms,
    }


def _succeeded(told: Mapping[str, Any]) -> bool:
    return told["status"] is not None and HTTPStatus(200) <= told["status"] < HTTPStatus.MULTIPLE_CHOICES


def _next(tries: int, told: Mapping[str, Any]) -> datetime | None:
    """When to try again: by the schedule, and not before the receiver wants to hear of it; None when never."""
    if tries > len(WAITS) or told["status"] == HTTPStatus.GONE:
        return None
    asked = told["retry_after"]
    wanted = timedelta(seconds=int(asked[:8])) if asked.isascii() and asked.isdigit() else timedelta()
    wait = WAITS[tries - 1]
    return now() + max(wait + _some(wait), min(wanted, LONGEST_ASKED))


def _some(wait: timedelta) -> timedelta:
    """A part of the wait that differs from message to message, so that a receiver that comes back is not overrun."""
    return wait * random.uniform(0.0, JITTER)  # noqa: S311 (spreading load, not secrets)


def _judge(hook: Webhook, told: Mapping[str, Any]) -> None:
    """What an attempt says of its receiver."""
    moment = now()
    hook.last_fired = moment
    if _succeeded(told):
        hook.fail_count, hook.failing_since, hook.paused_until = 0, None, None
        return
    hook.fail_count += 1
    hook.failing_since = hook.failing_since or moment
    if told["status"] is None or told["status"] >= HTTPStatus.INTERNAL_SERVER_ERROR:
        hook.paused_until = moment + min(max((moment - hook.failing_since) / 2, SHORTEST_PAUSE), LONGEST_PAUSE)
    if told["status"] == HTTPStatus.GONE:
        _disable(hook, GONE)
    elif hook.fail_count >= MOST_FAILURES and moment - hook.failing_since >= FAILING_FOR:
        _disable(hook, f"{hook.fail_count} attempts in a row failed")


def _disable(hook: Webhook, reason: str) -> None:
    if hook.enabled:
        log.warning("webhook %d is disabled: %s", hook.id, reason)
    hook.enabled, hook.disabled_reason = False, reason


def _give_up(session: Session, hook: Webhook) -> None:
    waits = update(WebhookMessage).where(WebhookMessage.webhook_id == hook.id, WebhookMessage.status == PENDING)
    session.execute(waits.values(status=FAILED, next_try_at=None))


def _move(session: Session, message: WebhookMessage, values: Json) -> bool:
    """Change a message that nobody else has moved meanwhile, and hand it over when it waits for another turn."""
    same = (WebhookMessage.id == message.id, WebhookMessage.turns == message.turns, WebhookMessage.status == PENDING)
    moved = session.scalar(update(WebhookMessage).where(*same).values(values).returning(WebhookMessage))
    if moved is not None and moved.status == PENDING:
        hand_over(moved)
    return moved is not None


def _entry(message: WebhookMessage, told: Mapping[str, Any], tries: int, due: datetime | None) -> WebhookDelivery:
    status: int | None = told["status"]
    failed = "" if _succeeded(told) else told["error"] or f"it answered {status}"
    redirected = status is not None and HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST
    return WebhookDelivery(
        webhook_id=message.webhook_id,
        message_id=message.id,
        message=message.uid,
        event_type=message.event_type,
        attempt=tries,
        success=not failed,
        status_code=status,
        error=(f"{failed}; redirects are not followed" if redirected else failed) or None,
        response=told["response"] or None,
        payload_size=len(message.body.encode()),
        latency_ms=told["latency_ms"],
        next_try_at=due,
    )
