"""Cost prediction: a response header with the most a call was expected to cost before it was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.gateway.exchange import Exchange
from app.gateway.modules.detectors import warn
from app.gateway.money import nano_from_usd, usd, usd_text
from app.gateway.steps import Module, Offer, Steps


class Costpredict(Module):
    """The same worst case that budgets hold; a call that nobody is asked for has none."""

    COUNTS = ("told", "unpriced", "warned")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Once the targets are known: of several, the dearest."""
        header, above = settings["header"].encode(), nano_from_usd(float(settings["warn_above"]))

        async def hold(exchange: Exchange, offer: Offer) -> Offer:
            known = [nano for _, nano in offer if nano is not None]
            if known:
                self._tell(exchange, header, max(known), above)
            else:
                self.counted["unpriced"] += 1
            return offer

        return Steps(hold=hold)

    def _tell(self, exchange: Exchange, header: bytes, nano: int, above: int) -> None:
        self.counted["told"] += 1
        exchange.headers.append((header.lower(), usd_text(nano).encode()))
        exchange.details["predicted_usd"] = usd(nano)
        if 0 < above < nano:
            self.counted["warned"] += 1
            warn(exchange, "costpredict")
