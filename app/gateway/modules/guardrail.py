"""Guardrail: keeps a conversation on the topics allowed, and answers the others with a sentence of the operator's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import re2

from app.gateway.exchange import Exchange
from app.gateway.modules.answers import make
from app.gateway.modules.bodies import last_text
from app.gateway.patterns import Linear, linear
from app.gateway.steps import Module, Steps


class Guardrail(Module):
    """Topics are words and phrases, looked for in what the caller said last, whole and in any case."""

    COUNTS = ("allowed", "answered")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Nothing while no topic is named."""
        allowed, denied = _words(settings["allowed_topics"]), _words(settings["denied_topics"])
        if allowed is None and denied is None:
            return Steps()

        def request(exchange: Exchange) -> None:
            said = last_text(exchange.body)
            if _speaks(said, denied) or (allowed is not None and not _speaks(said, allowed)):
                self.counted["answered"] += 1
                make(exchange, settings["answer"], "guardrail")
            else:
                self.counted["allowed"] += 1

        return Steps(request=request)


def _words(topics: Iterable[str]) -> Linear | None:
    """One pattern for all of them; None when there are none."""
    known = [re2.escape(topic.strip()) for topic in topics if topic.strip()]
    return linear(rf"(?:^|\W)(?:{'|'.join(known)})(?:\W|$)", ignore_case=True) if known else None


def _speaks(text: str, topics: Linear | None) -> bool:
    return topics is not None and topics.match.search(text) is not None
