"""Webhooks: who is told of what happens here."""

from __future__ import annotations

from typing import Any

from app.http import Answer, created, page, transact
from app.services.webhooks import hooks
from app.wire.pages import Listing
from models.views.webhooks import WebhookDeliveryView, WebhookView
from models.webhooks import Webhook, WebhookDelivery

Json = dict[str, Any]
GREETING = "This is a test of your webhook."

show_webhook = WebhookView().dump
show_delivery = WebhookDeliveryView().dump


def list_webhooks(**window: Any) -> Json:
    """Webhooks, newest first."""
    return page(Listing(hooks.find(), "webhooks", show_webhook, (Webhook.id,)), **window)


def create_webhook(body: Json) -> Answer:
    """A further webhook; its secret is told this one time."""
    wanted = hooks.checked(body["url"], body.get("events", "*"), body.get("secret"))
    with transact():
        hook = hooks.add(wanted)
    told: Json = {"status": "created", "secret": wanted.secret}
    return created(show_webhook(hook) | told, f"/api/webhooks/{hook.id}/stats")


def delete_webhook(id_: int) -> Json:
    """Forget a webhook."""
    hooks.remove(id_)
    return {"status": "deleted"}


def test_webhook(body: Json | None) -> Json:
    """Send a test."""
    wanted = body or {}
    messages = hooks.test(wanted.get("id"), wanted.get("message", GREETING))
    return {"status": "sent", "count": len(messages), "messages": messages}


def list_webhook_deliveries(id_: int, **window: Any) -> Json:
    """The log of a webhook, newest first."""
    listing = Listing(hooks.deliveries(id_), "deliveries", show_delivery, (WebhookDelivery.id,))
    return page(listing, **window)


def get_webhook_stats(id_: int) -> Json:
    """What the log of a webhook comes to."""
    return hooks.stats(id_)
