"""Tier drop: as a budget runs out, calls go to cheaper models, so that service gets plainer instead of stopping."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

from app.gateway.exchange import Exchange
from app.gateway.money import Price
from app.gateway.providers import provider_for_model
from app.gateway.steps import Module, Steps
from app.gateway.wire import Kind
from app.runtime import runtime


class Tierdrop(Module):
    """The step is chosen by the fullest of the budgets a call counts against; nobody is moved to a dearer model."""

    COUNTS = ("dropped", "kept")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """The steps of the budget, the last one first; nothing while there are none."""
        tiers = sorted(((tier["at"], tier["model"]) for tier in settings["tiers"]), reverse=True)
        if not tiers:
            return Steps()

        def request(exchange: Exchange) -> Awaitable[None] | None:
            if exchange.kind is Kind.EMBEDDINGS or exchange.call.principal.secret:
                return None
            return self._drop(exchange, tiers)

        return Steps(request=request)

    async def _drop(self, exchange: Exchange, tiers: list[tuple[float, str]]) -> None:
        used = await runtime().gateway.caps.used(exchange)
        model = next((model for at, model in tiers if used >= at), None)
        if model is None or not _cheaper(exchange, model):
            self.counted["kept"] += 1
            return
        self.counted["dropped"] += 1
        exchange.model = model
        exchange.details["tierdrop"] = {"model": model, "used": round(used, 3)}


def _cheaper(exchange: Exchange, model: str) -> bool:
    """Whether the model costs less than the one asked for, at a provider the call may go to.

    Where a price is not known, the operator's word counts.
    """
    wanted, provider = exchange.wanted_provider, provider_for_model(model)
    if model == exchange.model or wanted not in {"", provider}:
        return False
    prices = runtime().gateway.prices
    asked = prices.find(wanted or provider_for_model(exchange.model), exchange.model)
    offered = prices.find(provider, model)
    return asked is None or offered is None or _rate(offered) < _rate(asked)


def _rate(price: Price) -> int:
    return price.base.input + price.base.output
