"""How traces are shown: amounts in dollars, durations in milliseconds, an unknown price as such."""

from __future__ import annotations

from typing import Any

from marshmallow import post_dump
from marshmallow.fields import Boolean, Dict, Function, Integer, Raw, String

from app.gateway.money import usd
from models.views import View
from models.views.fields import Timestamp

US_PER_MS = 1_000


def dollars(nano: int | None) -> float | None:
    """The amount in dollars; None while it is not known."""
    return None if nano is None else usd(nano)


class TraceView(View):
    """A trace in a list: everything but what only its own page shows. `cost_usd` is null while the price is unknown."""

    id = String()
    request_id = String()
    parent_id = String()
    service = String()
    operation = String()
    provider = String()
    model = String()
    status = String()
    http_status = Integer()
    stream = Boolean()
    attempts = Integer()
    duration_ms = Function(lambda trace: trace.duration_us // US_PER_MS)
    first_byte_ms = Function(lambda trace: None if trace.first_byte_us is None else trace.first_byte_us // US_PER_MS)
    tokens_in = Integer()
    tokens_out = Integer()
    tokens_cached = Integer()
    tokens_reasoning = Integer()
    usage_source = String()
    cost_usd = Function(lambda trace: dollars(trace.cost_nano))
    cost_known = Function(lambda trace: trace.cost_nano is not None)
    saved_usd = Function(lambda trace: dollars(trace.saved_nano))
    user_id = Integer()
    key_id = Integer()
    project = String()
    source = String()
    tags = Dict()
    created_at = Timestamp()

    @post_dump
    def leave_out_unset(self, shown: dict[str, Any], **_: Any) -> dict[str, Any]:
        """But not the cost: null is an answer there, and zero would say that the call was free."""
        return {name: value for name, value in shown.items() if value is not None or name == "cost_usd"}


class TraceDetailView(TraceView):
    """A trace on its own page, but for its bodies."""

    error = String()
    metadata = Raw(attribute="details")
