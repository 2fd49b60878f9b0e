"""Voice bridge: answers as they are read aloud, without markup and no longer than somebody listens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.flow import Flow
from app.gateway.modules.detectors import Line
from app.gateway.modules.outputcap import ENDS, Cap
from app.gateway.patterns import linear
from app.gateway.steps import Module, Steps, TextFlow

Act = Callable[[Any], str]


def _gone(_found: Any) -> str:
    return ""


def _inside(found: Any) -> str:
    return found.group(1) or ""


# What CommonMark and GitHub's tables write besides words, in the order in which it is taken out, with what stays of it.
MARKUP: Final[Sequence[tuple[str, Act]]] = (
    (r"(?m)^[ \t]*(?:```|~~~)[^\n`]{0,100}\n?", _gone),
    (r"!?\[([^\[\]\n]{0,300})\]\([^()\s]{1,1000}(?:[ \t]{1,3}\"[^\"\n]{0,200}\")?\)", _inside),
    (r"</?[A-Za-z][^<>\n]{0,200}>", _gone),
    (r"(?m)^[ \t]*\|?(?:[ \t]*:?-{3,100}:?[ \t]*\|)+[ \t]*(?::?-{3,100}:?[ \t]*)?\n?", _gone),
    (r"(?m)^[ \t]{0,3}(?:-[ \t]*){3,100}\n|^[ \t]{0,3}(?:\*[ \t]*){3,100}\n|^[ \t]{0,3}(?:_[ \t]*){3,100}\n", _gone),
    (r"(?m)^[ \t]*\|[ \t]*", _gone),
    (r"[ \t]*\|[ \t]*\n", lambda _: ".\n"),
    (r"[ \t]\|[ \t]", lambda _: ", "),
    (r"(?m)^[ \t]{0,3}(?:>[ \t]?){1,10}", _gone),
    (r"(?m)^[ \t]{0,3}#{1,6}[ \t]+", _gone),
    (r"(?m)^[ \t]*[-*+•][ \t]+(?:\[[ xX]\][ \t]+)?", _gone),
    (r"\*\*|__|~~|`", _gone),
    (r"\*([^\s*][^*\n]{0,300})\*", _inside),
    (r"\b_([^_\n]{1,300})_\b", _inside),
)


class Voicebridge(Module):
    """What is said in words; the arguments of tools are data, and stay as they are."""

    COUNTS = ("stripped", "cut")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """One text after another through the patterns, then to its length."""
        most = settings["max_chars"]
        markup = [(linear(pattern), self._counting(act)) for pattern, act in MARKUP if settings["strip_markdown"]]

        def spoken(_exchange: Exchange) -> TextFlow:
            return Line([*(Flow(pattern, act) for pattern, act in markup), Cap(self, most, ENDS["sentence"])])

        return Steps(spoken=spoken)

    def _counting(self, act: Act) -> Act:
        def counted(found: Any) -> str:
            self.counted["stripped"] += 1
            return act(found)

        return counted
