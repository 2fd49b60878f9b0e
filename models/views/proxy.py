"""How modules, providers and routes are shown."""

from __future__ import annotations

from marshmallow.fields import Boolean, Dict, Function, Integer, List, String

from models.views import View
from models.views.fields import Timestamp


class ModuleView(View):
    """A module as it is set now; its `config` comes without secrets."""

    name = String(attribute="entry.name")
    category = String(attribute="entry.category")
    description = String(attribute="entry.description")
    enabled = Boolean()
    implemented = Boolean(attribute="entry.implemented")
    required = Boolean(attribute="entry.required")
    in_chain = Boolean()
    priority = Integer()
    config = Dict()
    aliases = List(String(), attribute="entry.aliases")
    version = Integer()
    updated_at = Timestamp(attribute="state.updated_at")


class LinkView(View):
    """A module's place in the chain."""

    name = String(attribute="entry.name")
    category = String(attribute="entry.category")
    enabled = Boolean()
    in_chain = Boolean()


class ProviderView(View):
    """A provider; its key is not even known here."""

    name = String()
    base_url = String()
    configured = Boolean()
    key_set = Function(lambda seen: bool(seen.account and seen.account.key))
    status = String()
    error = String(attribute="health.error")
    last_check = Timestamp(attribute="health.checked_at")
    request_count = Integer(attribute="traffic.requests")
    error_count = Integer(attribute="traffic.errors")
    latency_ms = Integer()
    circuit = Dict()
    kinds = Function(lambda seen: sorted(seen.provider.kinds))


class RouteView(View):
    """A rule; what only a stored one has is left out of the others."""

    id = Integer(attribute="stored.id")
    path = String()
    method = Function(lambda rule: rule.stored.method if rule.stored else "POST")
    provider = String()
    model = Function(lambda rule: rule.stored.model if rule.stored else "")
    enabled = Function(lambda rule: rule.stored is None or rule.stored.enabled)
    priority = Integer(attribute="stored.priority")
    source = Function(lambda rule: "stored" if rule.stored else "builtin")
    order = Integer()
