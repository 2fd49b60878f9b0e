"""Consent gate: refuses calls on behalf of users who have not agreed to their data being processed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.gateway.exchange import Exchange
from app.gateway.steps import Module, Steps
from app.problems import Problem


class Consentgate(Module):
    """The header lists what was agreed to, separated by commas."""

    COUNTS = ("admitted", "refused")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Nothing while no purpose must be agreed to."""
        header, wanted = settings["header"].strip().lower(), {purpose.lower() for purpose in settings["purposes"]}
        if not wanted:
            return Steps()

        def request(exchange: Exchange) -> None:
            given = {part.strip().lower() for part in exchange.call.headers.get(header, "").split(",")}
            if missing := sorted(wanted - given):
                self.counted["refused"] += 1
                told = {"reason": "consentgate", "param": settings["header"], "missing": missing}
                raise Problem(403, f"There is no consent to {', '.join(missing)[:200]}", details=told)
            self.counted["admitted"] += 1

        return Steps(request=request)
