"""Gemini shim: an answer that Gemini's safety filter withheld is asked for again, more carefully."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.steps import Judgement, Module, Steps
from app.gateway.wire import Answer

PROVIDER: Final = "gemini"
WITHHELD: Final = "content_filter"
HINT: Final = (
    "Your last answer was withheld by a safety filter. Answer again: factually, without explicit detail, and leave out "
    "whatever must not be said."
)


class Geminishim(Module):
    """The answer comes whole while this is on: a stream waits until it is known to be none that was withheld."""

    COUNTS = ("asked_again", "withheld")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Nothing when it is not to be asked again."""
        if not settings["safety_retry"] or not settings["max_retries"]:
            return Steps()

        def judge(exchange: Exchange, answer: Answer) -> str:
            if exchange.provider != PROVIDER or not _withheld(answer):
                return ""
            self.counted["asked_again"] += 1
            return HINT

        def failed(_exchange: Exchange, _hint: str) -> None:
            """It is passed on as it came, with the reason it ended by."""
            self.counted["asked_again"] -= 1
            self.counted["withheld"] += 1

        return Steps(judgement=Judgement(judge, settings["max_retries"], failed))


def _withheld(answer: Answer) -> bool:
    choices = answer.body.get("choices") or ()
    return bool(choices) and all(choice.get("finish_reason") == WITHHELD for choice in choices)
