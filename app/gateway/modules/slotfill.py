"""Slot fill: asks for what a form still needs, and hands the conversation to a model once it is complete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules import answers
from app.gateway.modules.bodies import role_of, texts, with_system
from app.gateway.patterns import Linear, linear
from app.gateway.steps import Module, Steps
from app.gateway.wire import Kind

NAME: Final = "slotfill"
LONGEST_VALUE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Slot:
    """One field of the form; without a pattern its value is whatever is answered to its question."""

    name: str
    question: str
    pattern: Linear | None = field(repr=False)


class Slotfill(Module):
    """The conversation itself is the form's memory: what was answered in it is filled in, nothing is kept here."""

    COUNTS = ("asked", "completed", "given_up")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Nothing while the form has no fields."""
        slots = [
            Slot(slot["name"], slot["question"].strip(), linear(slot["pattern"]) if slot["pattern"] else None)
            for slot in settings["slots"]
        ]
        projects, most = settings["projects"], settings["max_turns"]
        if not slots:
            return Steps()

        def request(exchange: Exchange) -> None:
            messages = exchange.body.get("messages")
            if exchange.kind is Kind.EMBEDDINGS or not isinstance(messages, list):
                return
            if not projects or exchange.project in projects:
                self._fill(exchange, slots, list(_said(messages)), most)

        return Steps(request=request)

    def _fill(self, exchange: Exchange, slots: Sequence[Slot], said: list[tuple[str, str]], most: int) -> None:
        """Ask the next question; when there is none left, or too many were asked, tell the model what is known."""
        found = {slot.name: value for slot in slots if (value := _value(slot, said))}
        missing = [slot for slot in slots if slot.name not in found]
        questions = {slot.question for slot in slots}
        asked = sum(role == "assistant" and text in questions for role, text in said)
        if missing and asked < most:
            self.counted["asked"] += 1
            answers.make(exchange, missing[0].question, NAME)
            return
        self.counted["given_up" if missing else "completed"] += 1
        lines = [f"{slot.name}: {found.get(slot.name, '(not given)')}" for slot in slots]
        exchange.body = with_system(exchange.body, "\n".join(["The user filled in this form:", *lines]))


def _said(messages: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """What was said in words, and by whom."""
    for message in messages:
        if (role := role_of(message)) in {"user", "assistant"}:
            yield role, "\n".join(texts({"messages": [message]})).strip()


def _value(slot: Slot, said: Sequence[tuple[str, str]]) -> str:
    """What the user gave for it last; empty when nothing fits."""
    value = ""
    for at, (role, text) in enumerate(said):
        if role != "user":
            continue
        if slot.pattern is None:
            value = text if at and said[at - 1] == ("assistant", slot.question) else value
        elif found := slot.pattern.match.search(text):
            value = found.group()
    return value[:LONGEST_VALUE]
