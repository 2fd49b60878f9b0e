"""Detectors: a pattern and what happens to its matches, the same in prompts, in answers and in streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from app.gateway.findings import INPUT, OUTPUT, masked, note
from app.gateway.flow import Flow
from app.gateway.modules.bodies import changed, spoken_away
from app.gateway.patterns import Linear
from app.problems import Problem

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange
    from app.gateway.steps import TextFlow

BLOCK, REDACT, WARN, LOG = "block", "redact", "warn", "log"
HIDDEN: Final = "[REDACTED]"
WARNING: Final = b"x-stockyard-warning"
WARNABLE: Final = 20


@dataclass(frozen=True, slots=True)
class Detector:
    """Finds one kind of text. `said` is what takes a match's place; `real` tells false alarms from matches.

    `reason` is the module that refuses, in the refusal's details; `project` `*` means every one.
    """

    name: str
    kind: str
    pattern: Linear = field(repr=False)
    action: str
    reason: str = "guardrail"
    project: str = "*"
    preview: bool = False
    said: Callable[[Any], str] | None = field(default=None, repr=False)
    real: Callable[[Any], bool] | None = field(default=None, repr=False)

    def serves(self, exchange: Exchange) -> bool:
        """Whether it looks into this call."""
        return self.project in {"*", exchange.project}

    def matched(self, found: Any) -> bool:
        """Whether a match is one."""
        return self.real is None or self.real(found)

    def replaced(self, found: Any) -> str:
        """What takes a match's place."""
        return self.said(found) if self.said else HIDDEN


def refusal(detector: Detector, direction: str) -> Problem:
    """403, naming the rule and not the text."""
    what = "request" if direction == INPUT else "answer"
    details = {"reason": detector.reason, "rule": detector.name, "direction": direction}
    return Problem(403, f"The {what} was blocked by {detector.name}", details=details)


class Detection:
    """Some detectors in their order, and what they counted in this worker."""

    def __init__(self, counted: Counter[str]) -> None:
        self._counted = counted

    def request(self, exchange: Exchange, detectors: Iterable[Detector], skip: frozenset[str] = frozenset()) -> None:
        """Look into the texts of a request; Problem 403 when one is blocked, its texts then go nowhere."""
        for detector in detectors:
            if not detector.serves(exchange):
                continue
            body = changed(exchange.body, partial(self._pass, exchange, detector), skip)
            if body is not exchange.body:
                exchange.body, exchange.hidden = body, True

    def _pass(self, exchange: Exchange, detector: Detector, text: str) -> str:
        """One text of a request, as it may go on."""
        out: list[str] = []
        at = 0
        for found in detector.pattern.match.finditer(text):
            if found.end() > found.start():
                out += (text[at : found.start()], self.act(exchange, detector, INPUT, found))
                at = found.end()
        return "".join((*out, text[at:])) if out else text

    def flow(self, exchange: Exchange, detector: Detector) -> Flow:
        """The flow of one text of an answer through one detector."""
        return Flow(detector.pattern, lambda found: self.act(exchange, detector, OUTPUT, found))

    def act(self, exchange: Exchange, detector: Detector, direction: str, found: Any) -> str:
        """Note a match, and give what takes its place; Problem 403 when it is blocked."""
        text: str = found.group()
        if not detector.matched(found):
            return text
        preview = masked(text) if detector.preview else ""
        note(exchange, detector.name, detector.kind, detector.action, direction, preview)
        self._counted[detector.action] += 1
        if detector.action == BLOCK:
            if direction == INPUT:
                exchange.body, exchange.hidden = spoken_away(exchange.body), True
            raise refusal(detector, direction)
        if detector.action == WARN:
            warn(exchange, detector.name)
        return detector.replaced(found) if detector.action == REDACT else text


class Line:
    """One text through several detectors, one after another."""

    __slots__ = ("_flows",)

    def __init__(self, flows: Sequence[TextFlow]) -> None:
        self._flows = flows

    def feed(self, text: str) -> str:
        """What may leave now."""
        for flow in self._flows:
            text = flow.feed(text)
        return text

    def end(self) -> str:
        """The rest."""
        tail = ""
        for flow in self._flows:
            tail = flow.feed(tail) + flow.end()
        return tail


def warn(exchange: Exchange, name: str) -> None:
    """Tell the caller by a header, as long as headers can still be sent; each rule once."""
    told = (WARNING, name.encode("ascii", "replace")[:200])
    if told not in exchange.headers and len(exchange.headers) < WARNABLE:
        exchange.headers.append(told)
