"""White label: callers meet an operator's product and names of models, and no vendor's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.gateway.exchange import Exchange
from app.gateway.labels import Labels
from app.gateway.steps import Module, Steps


class Whitelabel(Module):
    """Who is shown what is settled ahead of everything, so that refusals are told alike, too."""

    COUNTS = ("labelled", "translated")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Names of ours are turned into vendors' before aliases, rules and routes see them."""
        labels = Labels(settings)

        def before(exchange: Exchange) -> None:
            exchange.label = label = labels.of(exchange.call.principal, exchange.project)
            self.counted["labelled"] += 1
            if meant := label.meant.get(exchange.model):
                exchange.model = meant
                self.counted["translated"] += 1

        return Steps(before=before)
