"""The models a caller can ask for: priced models of reachable providers, and aliases."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

from app.gateway.config import SANDBOX, Config
from app.gateway.labels import Labels
from app.gateway.modules.workflows import PREFIX
from app.gateway.money import Price
from app.gateway.prices.table import ANY
from app.problems import not_found
from app.runtime import runtime
from app.security.principals import Principal

Json = dict[str, Any]
RELEASED = 1_780_000_000
CHAINFORGE = "chainforge"


async def shown(principal: Principal, project: str) -> list[Json]:
    """Every model known to be served, by the names this caller is shown."""
    config, found = runtime().gateway.config, await reachable(principal)
    if not config.on("whitelabel"):
        return found
    settings = config.of("whitelabel")
    return Labels(settings).of(principal, project).listed(found, named=settings["list_only_named"])


async def reachable(principal: Principal) -> list[Json]:
    """Every model known to be served, by provider and name, after the aliases and the workflows."""
    gateway = runtime().gateway
    personal = await gateway.personal.of(principal.user_id) if principal.user_id is not None else {}
    names = {principal.provider} if principal.provider else {*gateway.config.accounts, *personal}
    found = [_model(alias, provider or "alias", RELEASED) for alias, (_, provider) in gateway.config.aliases.items()]
    found += [] if principal.provider else _workflows(gateway.config)
    found.append(_model(SANDBOX, SANDBOX, RELEASED))
    prices = [price for name in sorted(names - {SANDBOX}) for price in gateway.prices.rows(name)]
    return found + [_priced(price) for price in prices if price.model != ANY]


def _workflows(config: Config) -> list[Json]:
    """The workflows that are called like models, with a key of this server."""
    known = config.of(CHAINFORGE)["workflows"] if config.on(CHAINFORGE) else []
    return [_model(PREFIX + workflow["name"], CHAINFORGE, RELEASED) for workflow in known]


async def one(principal: Principal, project: str, name: str) -> Json:
    """One of them; Problem 404 when it is not listed."""
    for model in await shown(principal, project):
        if model["id"] == name:
            return model
    raise not_found("The model")


def _priced(price: Price) -> Json:
    day = date.fromisoformat(price.date) if price.date else None
    return _model(price.model, price.provider, int(datetime.combine(day, time(), UTC).timestamp()) if day else RELEASED)


def _model(name: str, owner: str, created: int) -> Json:
    return {"id": name, "object": "model", "created": created, "owned_by": owner}
