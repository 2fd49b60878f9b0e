"""Prompt chain: an operator's prompts follow one another in one call, each with the answers before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.steps import Judgement, Module, Steps
from app.gateway.wire import Answer, Json, Kind
from app.problems import Problem

NAME: Final = "promptchain"
WANTED: Final = "x-chain"


@dataclass(slots=True)
class Left:
    """The prompts of a call that were not said yet."""

    prompts: Sequence[str] = field(repr=False)


class Promptchain(Module):
    """The first prompt goes out with the conversation; the others are what the model is asked next."""

    COUNTS = ("chains", "prompts", "refused")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Nothing while there are no chains."""
        known = {chain["name"]: tuple(chain["prompts"]) for chain in settings["chains"] if chain["prompts"]}
        if not known:
            return Steps()

        def request(exchange: Exchange) -> None:
            name = exchange.call.headers.get(WANTED)
            if not name:
                return
            if name not in known or not isinstance(exchange.body.get("messages"), list):
                self.counted["refused"] += 1
                raise Problem(404, "There is no chain of that name for this call", details={"param": "X-Chain"})
            self._begin(exchange, name, known[name])

        def failed(_exchange: Exchange, _hint: str) -> None:
            """An answer that another module made has no next one."""

        longest = max(len(prompt.encode()) for prompts in known.values() for prompt in prompts)
        budget = max(map(len, known.values())) - 1
        judgement = Judgement(self._next, budget, failed, longest)
        return Steps(request=request, judgement=judgement, waits=lambda exchange: WANTED in exchange.call.headers)

    def _begin(self, exchange: Exchange, name: str, prompts: Sequence[str]) -> None:
        exchange.body = {**exchange.body, "messages": [*exchange.body["messages"], _asking(prompts[0])]}
        exchange.variant += f"{NAME}={name};"
        exchange.details["chain"] = name[:200]
        exchange.keep(NAME, Left(prompts[1:]))
        self.counted["chains"] += 1
        self.counted["prompts"] += 1

    def _next(self, exchange: Exchange, answer: Answer) -> list[Json]:
        """The answer and the next prompt; nothing when there is none left, or the answer is a call for tools."""
        left, said = exchange.taken(NAME), _said(exchange, answer)
        if not isinstance(left, Left) or not left.prompts or said is None:
            return []
        exchange.keep(NAME, Left(left.prompts[1:]))
        self.counted["prompts"] += 1
        return [{"role": "assistant", "content": said}, _asking(left.prompts[0])]


def _asking(prompt: str) -> Json:
    return {"role": "user", "content": prompt}


def _said(exchange: Exchange, answer: Answer) -> str | None:
    """What the model said in words; None when it did not."""
    if exchange.kind is not Kind.CHAT:
        return None
    message = answer.body["choices"][0].get("message") or {}
    text = message.get("content")
    return text if isinstance(text, str) and not message.get("tool_calls") else None
