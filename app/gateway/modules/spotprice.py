"""Spot price: of the providers that serve a model, the one that sells it for the least is asked first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.gateway.exchange import Exchange
from app.gateway.steps import Module, Offer, Steps
from app.gateway.wire import Target
from app.runtime import runtime


class Spotprice(Module):
    """Compares what this very call can cost at each, by the price book. The others stay behind it, to stand in."""

    COUNTS = ("moved", "kept")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Once the targets are known, and which of them a call's region and its caller allow."""
        share = 1.0 - settings["min_saving"]

        async def hold(exchange: Exchange, offer: Offer) -> Offer:
            at = _cheapest(offer, share) if len(offer) > 1 and not exchange.call.principal.secret else 0
            self.counted["moved" if at else "kept"] += 1
            if at:
                exchange.details["spotprice"] = {"instead_of": offer[0][0].provider.name}
            return [offer[at], *offer[:at], *offer[at + 1 :]]

        return Steps(hold=hold)


def _cheapest(offer: Offer, share: float) -> int:
    """The place of the cheapest, if it costs less than this share of the first; else 0, as where a price is unknown."""
    usual, price = offer[0]
    if price is None or not _is_ours(usual):
        return 0
    known = [(nano, at) for at, (t, nano) in enumerate(offer) if nano is not None and not t.smaller and _is_ours(t)]
    nano, at = min(known)
    return at if nano < price * share else 0


def _is_ours(target: Target) -> bool:
    """Whether this server pays for it: nobody is moved to or from a key that a user brought."""
    account = runtime().gateway.config.accounts.get(target.provider.name)
    return account is not None and account.key == target.key and not target.guarded
