"""Eval gate: checks every answer against an operator's rules, and asks again when it fails one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from app.gateway.exchange import Exchange
from app.gateway.modules.detectors import warn
from app.gateway.patterns import PatternError, linear
from app.gateway.steps import Judgement, Module, Steps
from app.gateway.wire import Answer, Kind

Passes = Callable[[str], bool]
RETRY: Final = "retry"


class Evalgate(Module):
    """An answer that still fails when the budget is spent is handed on with a warning: it was paid for."""

    COUNTS = ("passed", "again", "failed")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Nothing while there are no rules."""
        rules = [(rule["type"], _check(rule), rule["action"]) for rule in settings["validators"]]
        if not rules:
            return Steps()

        def judge(exchange: Exchange, answer: Answer) -> str:
            if exchange.kind is Kind.EMBEDDINGS:
                return ""
            broken = [(name, action) for name, check, action in rules if not all(map(check, said_in(answer)))]
            for name, action in broken:
                if action != RETRY:
                    warn(exchange, f"evalgate.{name}")
            hint = next((name for name, action in broken if action == RETRY), "")
            self.counted["again" if hint else "passed"] += 1
            return f"That answer failed this check: {hint}. Answer again so that it passes." if hint else ""

        def failed(exchange: Exchange, _hint: str) -> None:
            self.counted["failed"] += 1
            warn(exchange, "evalgate.failed")

        return Steps(judgement=Judgement(judge, settings["retry_budget"], failed))


def said_in(answer: Answer) -> list[str]:
    """The text of each choice that says something in words; a call for tools is none."""
    found = []
    for choice in answer.body["choices"]:
        message = choice.get("message") or {}
        text = message.get("content", choice.get("text"))
        if isinstance(text, str) or not message.get("tool_calls"):
            found.append(text if isinstance(text, str) else "")
    return found


def _check(rule: Mapping[str, Any]) -> Passes:
    """The rule as a function; one whose value cannot be read is passed by nothing."""
    kind, value = rule["type"], rule["value"]
    if kind == "json_parse":
        return _is_json
    if kind == "not_empty":
        return lambda text: bool(text.strip())
    if kind == "contains":
        return lambda text: value in text
    if kind == "regex":
        return _matching(value)
    if not value.strip().isdigit():
        return lambda _: False
    length = int(value)
    return (lambda text: len(text) >= length) if kind == "min_length" else (lambda text: len(text) <= length)


def _matching(value: str) -> Passes:
    try:
        pattern = linear(value)
    except PatternError:
        return lambda _: False
    return lambda text: pattern.match.search(text) is not None


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True
