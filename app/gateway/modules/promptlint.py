"""Prompt lint: warns about prompts that repeat themselves, hold attacks, or are longer than they need to be."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules.bodies import texts
from app.gateway.modules.detectors import warn
from app.gateway.modules.promptguard import INJECTIONS, OPERATORS
from app.gateway.patterns import linear
from app.gateway.steps import Module, Steps
from app.problems import Problem

SENTENCE: Final = re.compile(r"[.!?\n]+")
# A sentence worth saying once: shorter ones (yes, thank you) are said again with good reason.
LEAST: Final = 20
ATTACKS: Final = tuple(
    linear(pattern, ignore_case=True) for level in ("low", "medium") for pattern in INJECTIONS[level]
)


class Promptlint(Module):
    """Each finding is a warning in a header, or all of them together a refusal."""

    COUNTS = ("redundancy", "injection", "length", "refused")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """The checks that are wanted."""
        most = settings["max_length"]
        known: dict[str, Callable[[Exchange], bool]] = {
            "redundancy": _repeats,
            "injection": _attacks,
            "length": lambda x: sum(map(len, texts(x.body))) > most,
        }
        checks = [(name, known[name]) for name in settings["checks"]]

        def request(exchange: Exchange) -> None:
            found = [name for name, fails in checks if fails(exchange)]
            self.counted.update(found)
            if found and settings["block_on_fail"]:
                self.counted["refused"] += 1
                told = {"reason": "promptlint", "checks": found}
                raise Problem(400, f"The prompt fails these checks: {', '.join(found)}", details=told)
            for name in found:
                warn(exchange, f"promptlint.{name}")

        return Steps(request=request)


def _repeats(exchange: Exchange) -> bool:
    """Whether a sentence is said twice in one text."""
    for text in texts(exchange.body):
        said = Counter(" ".join(part.lower().split()) for part in SENTENCE.split(text))
        if any(count > 1 and len(sentence) >= LEAST for sentence, count in said.items()):
            return True
    return False


def _attacks(exchange: Exchange) -> bool:
    said = list(texts(exchange.body, OPERATORS))
    return any(attack.match.search(text) is not None for text in said for attack in ATTACKS)
