"""Mock LLM: answers from an operator's fixtures, for tests that need neither a key nor a network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from app.gateway.exchange import Exchange
from app.gateway.modules.answers import make
from app.gateway.modules.bodies import last_text
from app.gateway.modules.catalogue import parse_duration
from app.gateway.patterns import is_usable, linear
from app.gateway.steps import Module, Steps
from app.problems import Problem

FAILED = 400
# The refusals the document lets a model call end with.
TOLD = frozenset({400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504})


class Mockllm(Module):
    """The first fixture that matches what the caller said last is given."""

    COUNTS = ("answered", "refused", "passed")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Fixtures in their order, the default answer, then the real model or a refusal."""
        fixtures = [(_matcher(fixture), fixture) for fixture in settings["fixtures"]]
        default: str = settings["default_response"]

        async def request(exchange: Exchange) -> None:
            said = last_text(exchange.body)
            for matches, fixture in fixtures:
                if matches(said):
                    await self._play(exchange, fixture)
                    return
            if default:
                self._answer(exchange, default)
            elif settings["passthrough"]:
                self.counted["passed"] += 1
            else:
                self.counted["refused"] += 1
                raise Problem(404, "No fixture matches this prompt", details={"reason": "mockllm"})

        return Steps(request=request)

    async def _play(self, exchange: Exchange, fixture: Mapping[str, Any]) -> None:
        if delay := parse_duration(fixture["delay"]):
            await asyncio.sleep(delay)
        if fixture["status"] >= FAILED:
            self.counted["refused"] += 1
            said = fixture["response"] or "A fixture refused this call"
            status = fixture["status"] if fixture["status"] in TOLD else 502
            raise Problem(status, said, details={"reason": "mockllm"})
        self._answer(exchange, fixture["response"])

    def _answer(self, exchange: Exchange, text: str) -> None:
        self.counted["answered"] += 1
        make(exchange, text, "mockllm")


def _matcher(fixture: Mapping[str, Any]) -> Callable[[str], bool]:
    value: str = fixture["value"]
    if fixture["match"] == "regex":
        if not is_usable(value) or not value:
            return lambda _: False
        pattern = linear(value)
        return lambda said: pattern.match.search(said) is not None
    if fixture["match"] == "exact":
        return lambda said: said == value
    return (lambda _: True) if fixture["match"] == "any" else (lambda said: value in said)
