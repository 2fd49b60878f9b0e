"""How webhooks and their deliveries are shown."""

from __future__ import annotations

from marshmallow.fields import Boolean, Integer, List, String

from models.views import View
from models.views.fields import Timestamp


class WebhookView(View):
    """A webhook; its secret is not even readable here."""

    id = Integer()
    url = String()
    events = List(String())
    enabled = Boolean()
    created_at = Timestamp()
    last_fired = Timestamp()
    fail_count = Integer()
    disabled_reason = String()


class WebhookDeliveryView(View):
    """One attempt."""

    id = Integer()
    message = String()
    event_type = String()
    attempt = Integer()
    success = Boolean()
    status_code = Integer()
    error = String()
    response = String()
    payload_size = Integer()
    payload = String()
    latency_ms = Integer()
    created_at = Timestamp()
    next_try_at = Timestamp()
