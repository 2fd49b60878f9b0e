"""Prompt slim: removes filler words from prompts, so that the same question costs fewer tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import re2

from app.gateway.exchange import Exchange
from app.gateway.modules.bodies import changed
from app.gateway.patterns import linear
from app.gateway.steps import Module, Steps

# From how aggressive a setting on these words go; no word that changes what is asked for.
FILLERS: Final[tuple[tuple[float, tuple[str, ...]], ...]] = (
    (
        0.1,
        (
            "please note that",
            "it is important to note that",
            "as you may know",
            "as a matter of fact",
            "needless to say",
            "at the end of the day",
            "for all intents and purposes",
            "i would like you to",
            "i was wondering if you could",
            "would you be so kind as to",
        ),
    ),
    (
        0.3,
        ("basically", "actually", "literally", "really", "very", "quite", "simply", "kind of", "sort of", "you know"),
    ),
    (0.6, ("please", "thank you", "thanks", "could you", "can you", "in order", "of course", "obviously", "clearly")),
    (0.9, ("just", "perhaps", "maybe", "also", "however", "therefore", "furthermore", "moreover", "indeed")),
)


class Promptslim(Module):
    """Code and data between backticks or braces is left as it is: a text that holds any is not touched."""

    COUNTS = ("slimmed", "characters")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """The words of all levels up to the one set."""
        words = [word for level, words in FILLERS if settings["aggressiveness"] >= level for word in words]
        if not words:
            return Steps()
        joined = "|".join(re2.escape(word).replace(r"\ ", r"\s+") for word in sorted(words, key=len, reverse=True))
        pattern = linear(rf"\b(?:{joined})\b,?[ \t]*", ignore_case=True).match
        skip = frozenset(settings["protect"])

        def slim(text: str) -> str:
            if any(mark in text for mark in "`{}<>"):
                return text
            shorter = str(pattern.sub("", text))
            return shorter if shorter.strip() else text

        def request(exchange: Exchange) -> None:
            before = exchange.body
            exchange.body = changed(before, slim, skip)
            if exchange.body is not before:
                self.counted["slimmed"] += 1
                self.counted["characters"] += _length(before) - _length(exchange.body)

        return Steps(request=request)


def _length(body: Mapping[str, Any]) -> int:
    found: list[int] = []

    def measured(text: str) -> str:
        found.append(len(text))
        return text

    changed(dict(body), measured)
    return sum(found)
