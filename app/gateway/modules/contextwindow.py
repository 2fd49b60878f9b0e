"""Context window: warns or refuses when a prompt comes close to the model's window, before the provider does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.gateway.exchange import Exchange
from app.gateway.modules.detectors import warn
from app.gateway.modules.windows import window_of
from app.gateway.steps import Module, Steps
from app.gateway.usage import estimate_input
from app.problems import Problem


class Contextwindow(Module):
    """The prompt is estimated, four characters to a token; models of unknown window are left alone."""

    COUNTS = ("warned", "refused")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Both limits as shares of the window."""
        warn_at, block_at = settings["warn_at"], settings["block_at"]

        def request(exchange: Exchange) -> None:
            window = window_of(exchange.model)
            if not window:
                return
            size = estimate_input(exchange.body)
            if size > window * block_at:
                self.counted["refused"] += 1
                told = {"reason": "contextwindow", "tokens": size, "window": window}
                message = f"The prompt is about {size} tokens long; {exchange.model[:100]} takes {window}"
                raise Problem(400, message, code="context_length_exceeded", details=told)
            if size > window * warn_at:
                self.counted["warned"] += 1
                warn(exchange, "contextwindow")

        return Steps(request=request)
