"""Chaos LLM: adds delays and refusals on purpose, so that a product's builders learn how it takes them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

from app.gateway.exchange import Exchange
from app.gateway.modules.catalogue import parse_duration
from app.gateway.steps import Module, Steps
from app.problems import Problem


class Chaosllm(Module):
    """Only the projects that are listed are disturbed."""

    COUNTS = ("delayed", "failed")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Nothing while no project is listed."""
        projects, delay = frozenset(settings["projects"]), parse_duration(settings["delay"])
        if not projects:
            return Steps()

        async def request(exchange: Exchange) -> None:
            if exchange.project not in projects:
                return
            if random.random() < settings["delay_rate"]:  # noqa: S311 (a share of calls, no secret)
                self.counted["delayed"] += 1
                await asyncio.sleep(delay)
            if random.random() < settings["error_rate"]:  # noqa: S311
                self.counted["failed"] += 1
                raise Problem(502, "chaosllm failed this call on purpose", details={"reason": "chaosllm"})

        return Steps(request=request)
