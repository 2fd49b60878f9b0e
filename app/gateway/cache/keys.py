"""Cache keys: everything that may change an answer, as one hash."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2s, sha256
from typing import TYPE_CHECKING

import orjson
from sqlalchemy import Engine, select

from app.gateway.wire import Json
from app.services.system import release
from models.answers import CacheEpoch
from models.base import transaction
from models.guardrails import Guardrail
from models.trust import TrustPolicy

if TYPE_CHECKING:
    from app.gateway.config import Config
    from app.gateway.exchange import Exchange

# These change how an answer is delivered or accounted, not what it says.
NOT_IN_KEY = frozenset({"stream", "stream_options", "user", "metadata", "store"})
RULE = (
    Guardrail.name,
    Guardrail.type,
    Guardrail.pattern,
    Guardrail.action,
    Guardrail.project,
    Guardrail.priority,
    Guardrail.id,
)

POLICY = (
    TrustPolicy.id,
    TrustPolicy.name,
    TrustPolicy.type,
    TrustPolicy.rules,
    TrustPolicy.models,
    TrustPolicy.models_mode,
    TrustPolicy.max_tokens,
    TrustPolicy.max_cost_nano,
)


def key_of(exchange: Exchange, config: Config) -> bytes:
    """SHA-256 of everything that may change the answer: tenant, provider, configuration and the whole request."""
    return hashed(exchange, config, told(exchange.body))


def told(body: Json) -> Json:
    """What of a body may change the answer."""
    return body if NOT_IN_KEY.isdisjoint(body) else {k: v for k, v in body.items() if k not in NOT_IN_KEY}


def hashed(exchange: Exchange, config: Config, body: Json) -> bytes:
    """SHA-256 of a body in its circumstances: who asks, in which project and on which wire, under which settings."""
    principal = exchange.call.principal
    tenant = f"user:{principal.user_id}" if principal.user_id is not None else principal.subject
    if principal.secret:
        tenant = f"{tenant}:{sha256(principal.secret.encode()).hexdigest()}"
    wire = exchange.inbound.name if exchange.inbound else exchange.kind
    said = [
        config.stamp,
        tenant,
        wire,
        exchange.model,
        exchange.wanted_provider,
        exchange.project,
        exchange.variant,
        body,
    ]
    return sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).digest()


def stamped(engine: Engine, config: Config) -> Config:
    """The settings with what keys hold of them: the cache's epoch, and a hash that is alike on workers set alike."""
    with transaction(engine, write=False) as session:
        epoch = session.scalar(select(CacheEpoch.number)) or 0
        rules = [list(row) for row in session.execute(select(*RULE).where(Guardrail.enabled).order_by(Guardrail.id))]
        enabled = select(*POLICY).where(TrustPolicy.enabled).order_by(TrustPolicy.id)
        rules += [list(row) for row in session.execute(enabled)]
    modules = [[m.name, m.enabled, m.config] for m in config.modules.values()]
    routes = [[rule.pattern.pattern, rule.provider, rule.model] for rule in config.rules]
    accounts = {name: [account.base_url, account.key] for name, account in config.accounts.items()}
    said = [release(), epoch, modules, rules, routes, accounts, config.urls]
    stamp = blake2s(orjson.dumps(said, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
    return replace(config, epoch=epoch, stamp=stamp)
