"""How guardrail rules and their events are shown."""

from __future__ import annotations

from marshmallow.fields import Boolean, Function, Integer, String

from models.views import View
from models.views.fields import Timestamp


class GuardrailView(View):
    """A rule."""

    id = Integer()
    name = String()
    type = String()
    pattern = String()
    action = String()
    project = String()
    enabled = Boolean()
    priority = Integer()
    description = String()
    created_at = Timestamp()
    updated_at = Timestamp()


class GuardrailEventView(View):
    """What a rule found in a call; of the text itself nothing, or a secret's ends."""

    id = Integer()
    timestamp = Timestamp(attribute="created_at")
    rule_name = String()
    rule_type = String()
    action = String()
    direction = String()
    project = String()
    model = String()
    matches = Integer()
    match_text = Function(lambda event: event.preview or None)
    request_id = String()
    trace_id = String()
