"""Trace link: whether calls join their callers' distributed traces, and which of the others are traced."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.steps import Module, Steps
from app.gateway.tracing import ALWAYS, OFF, SAMPLED_OUT

READ: Final = ("traceparent", "tracestate")


class Tracelink(Module):
    """A caller that sends `traceparent` has decided already whether its trace is sampled; the rest is drawn here."""

    COUNTS = ("joined", "begun", "left_out")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Before anything else, so that refused calls are traced by the same rule."""
        propagates, rate = settings["propagate_w3c"], settings["sample_rate"]

        def before(exchange: Exchange) -> None:
            exchange.link = ALWAYS if propagates else OFF
            if not propagates:
                exchange.context = None
                exchange.details = {name: value for name, value in exchange.details.items() if name not in READ}
            if exchange.context is not None:
                self.counted["joined"] += 1
            elif random.random() < rate:  # noqa: S311 (a share of calls)
                self.counted["begun"] += 1
            else:
                self.counted["left_out"] += 1
                exchange.details[SAMPLED_OUT] = True

        return Steps(before=before)
