"""Code language: code in an answer parses in the language it claims to be, or the model is asked again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules.detectors import warn
from app.gateway.modules.evalgate import said_in
from app.gateway.modules.extractml import fenced
from app.gateway.modules.parsing import PARSERS, fault, language_of
from app.gateway.steps import Judgement, Module, Steps
from app.gateway.wire import Answer, Kind
from app.problems import Problem

NAME: Final = "codelang"
LONGEST_HINT: Final = 300


class Codelang(Module):
    """Looks at the fenced blocks of whole answers."""

    COUNTS = ("parsed", "broken", "again", "failed")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Nothing while no language is checked."""
        wanted = frozenset(settings["languages"]) & PARSERS.keys()

        def judge(exchange: Exchange, answer: Answer) -> str:
            wrong = "" if exchange.kind is Kind.EMBEDDINGS else next(self._faults(answer, wanted), "")
            self.counted["again"] += bool(wrong)
            return f"{wrong}. Answer again, with code that parses." if wrong else ""

        def failed(exchange: Exchange, hint: str) -> None:
            self.counted["again"] -= 1  # it was not asked for once more
            self.counted["failed"] += 1
            warn(exchange, NAME)
            if settings["action"] == "refuse":
                reason = hint.partition(". Answer again")[0]
                raise Problem(502, "The model wrote no code that parses", details={"reason": NAME, "fault": reason})

        judgement = Judgement(judge, settings["max_retries"], failed)
        return Steps(judgement=judgement if wanted else None, waits=lambda exchange: exchange.kind is Kind.CHAT)

    def _faults(self, answer: Answer, wanted: frozenset[str]) -> Iterator[str]:
        """What is wrong with each block of a language that is checked."""
        for claimed, code in (block for text in said_in(answer) for block in fenced(text)):
            if (language := language_of(claimed)) not in wanted:
                continue
            wrong = fault(language, code)
            self.counted["broken" if wrong else "parsed"] += 1
            if wrong:
                yield f"The {language} code in that answer does not parse: {wrong}"[:LONGEST_HINT]
