"""Output cap: ends answers at a length, at the end of a sentence, a word or a character."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.steps import Module, Steps

# Where a text may be cut: after these.
ENDS: Final = {"sentence": re.compile(r"[.!?…。!?]+[\"'”’)\]]*(?=\s)|\n"), "word": re.compile(r"\S(?=\s)")}


class Outputcap(Module):
    """Each text of an answer by itself; a stream goes on to its end, saying no more."""

    COUNTS = ("cut",)

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """One length for all."""
        most, where = settings["max_chars"], settings["cut_at"]

        def texts(_exchange: Exchange) -> Cap:
            return Cap(self, most, ENDS.get(where))

        return Steps(texts=texts)


class Cap:
    """One text, cut: it waits from the last place where it may end, until it is known to go on within its length."""

    __slots__ = ("_ends", "_full", "_held", "_left", "_module")

    def __init__(self, module: Module, most: int, ends: re.Pattern[str] | None) -> None:
        self._module = module
        self._ends = ends
        self._left = most
        self._held = ""
        self._full = False

    def feed(self, text: str) -> str:
        """What is sure to stay."""
        if self._full:
            return ""
        self._held += text
        if len(self._held) > self._left:
            return self._cut()
        at = len(self._held) if self._ends is None else self._last(self._held)
        leaving, self._held = self._held[:at], self._held[at:]
        self._left -= at
        return leaving

    def end(self) -> str:
        """The rest, which fits."""
        leaving, self._held = self._held, ""
        return leaving

    def _cut(self) -> str:
        """The longest beginning that fits, whole in its kind; a single word or sentence that does not fit is cut."""
        self._full = True
        self._module.counted["cut"] += 1
        fitting = self._held[: self._left]
        at = self._last(self._held[: self._left + 1]) if self._ends else len(fitting)
        self._held = ""
        return fitting[: min(at, len(fitting))]

    def _last(self, text: str) -> int:
        return max((found.end() for found in self._ends.finditer(text)), default=0) if self._ends else len(text)
