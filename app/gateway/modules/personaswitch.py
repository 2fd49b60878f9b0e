"""Persona switch: gives a model one of the operator's characters to speak as, chosen by a header."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.gateway.exchange import Exchange
from app.gateway.modules.bodies import with_system
from app.gateway.steps import Module, Steps
from app.problems import Problem


class Personaswitch(Module):
    """A character is a system message before the conversation; without the header nothing happens."""

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Characters by name."""
        header = settings["header"].strip().lower()
        known = {persona["name"]: persona["prompt"] for persona in settings["personas"]}

        def request(exchange: Exchange) -> None:
            if not (name := exchange.call.headers.get(header)):
                return
            if name not in known:
                raise Problem(404, "There is no character of that name", details={"param": settings["header"]})
            self.counted[name] += 1
            exchange.body = with_system(exchange.body, known[name])

        return Steps(request=request)
