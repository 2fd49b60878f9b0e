"""How trust policies, the ledger, evidence and feedback are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson
from marshmallow.fields import Boolean, Function, Integer, List, Raw, String

from app.gateway.money import usd
from models.trust import TrustPolicy
from models.views import View
from models.views.fields import Timestamp

FIELDS: Final[Mapping[str, str]] = {"request": "request.content", "response": "response.content", "both": "content"}


class TrustPolicyView(View):
    """A policy, as rules by field and as a `config`; `action` is its type, as the contract calls it."""

    id = Integer()
    name = String()
    type = String()
    action = Function(lambda policy: policy.type)
    enabled = Boolean()
    description = String()
    rules = Function(lambda policy: [_rule(rule) for rule in policy.rules])
    config = Function(lambda policy: dict(_config(policy)))
    created_at = Timestamp()
    updated_at = Timestamp()


class LedgerEntryView(View):
    """An entry, with all that its hash is of."""

    id = Integer()
    event_type = String()
    actor = String()
    resource = String()
    action = String()
    detail = Function(lambda entry: orjson.loads(entry.detail))
    created_at = Timestamp(timespec="microseconds")
    prev_hash = String()
    hash = String()


class TrustEvidenceView(View):
    """A pack, with all that its hash is of."""

    id = String()
    name = String()
    description = String()
    type = String()
    content = String()
    attachments = List(Raw())
    date_from = Timestamp(timespec="microseconds")
    date_to = Timestamp(timespec="microseconds")
    event_count = Integer()
    entries_hash = String()
    hash = String()
    status = Function(lambda _pack: "generated")
    created_at = Timestamp()


class TrustFeedbackView(View):
    """What somebody thought of an answer."""

    id = Integer()
    request_id = String()
    user_email = String()
    rating = Integer()
    comment = String()
    tags = List(String())
    created_at = Timestamp()


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    shown = {"field": FIELDS[rule["target"]], "pattern": rule["pattern"]}
    return shown | ({"description": rule["description"]} if rule["description"] else {})


def _config(policy: TrustPolicy) -> Iterator[tuple[str, Any]]:
    if policy.description:
        yield "description", policy.description
    if len(policy.rules) == 1:
        yield from ((name, policy.rules[0][name]) for name in ("pattern", "target"))
    if policy.models:
        yield from (("models", ",".join(policy.models)), ("models_mode", policy.models_mode))
    if policy.max_tokens is not None:
        yield "max_tokens", policy.max_tokens
    if policy.max_cost_nano is not None:
        yield "max_cost", usd(policy.max_cost_nano)
