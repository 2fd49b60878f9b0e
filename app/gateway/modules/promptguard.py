"""Prompt guard: personal data is hidden before it leaves, and attempts to hijack the model are stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules.detectors import BLOCK, LOG, REDACT, WARN, Detection, Detector
from app.gateway.patterns import Linear, linear
from app.gateway.steps import Module, Steps

# What an operator writes is no user's personal data, and no attack.
OPERATORS: Final = frozenset({"system", "developer"})
_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
KINDS: Final[Mapping[str, str]] = {
    "email": r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,4}\.[A-Za-z]{2,24}\b",
    "ssn": r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b",
    "credit_card": r"\b[0-9](?:[ -]?[0-9]){12,18}\b",
    "phone": r"(?:\+[0-9]{1,3}[ .-]?)?(?:\([0-9]{3}\) ?|\b[0-9]{3}[ .-])[0-9]{3}[ .-][0-9]{4}\b|\+[0-9]{8,15}\b",
    "ip_address": rf"\b{_OCTET}(?:\.{_OCTET}){{3}}\b",
}
# Each level takes what the one before it takes, and more.
INJECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "low": (
        (
            r"\b(?:ignore|disregard|forget|override)\s+(?:all\s+|any\s+)?(?:of\s+)?(?:the\s+|your\s+|my\s+)?"
            r"(?:previous|prior|above|earlier|preceding|system)\s+(?:instructions?|prompts?|rules|messages?|directions)\b"
        ),
        (
            r"\b(?:reveal|print|show|repeat|output)\s+(?:me\s+)?(?:your|the)\s+(?:system|initial|hidden)\s+"
            r"(?:prompt|instructions?|message)\b"
        ),
    ),
    "medium": (
        r"\byou\s+are\s+(?:now\s+)?(?:in\s+)?(?:developer|debug|god|dan|jailbreak)(?:\s+mode)?\b",
        (
            r"\b(?:pretend|act\s+as\s+if|imagine)\s+(?:that\s+)?(?:you\s+)?(?:have|had|there\s+are)\s+no\s+"
            r"(?:rules|restrictions|limits|guidelines|filters)\b"
        ),
        r"\bdo\s+anything\s+now\b",
        r"<\|(?:im_start|im_end|system|endoftext)\|>",
    ),
    "high": (
        r"\bnew\s+(?:system\s+)?instructions?\s*:",
        r"\b(?:jailbreak|prompt\s+injection|bypass\s+(?:your|the|all)\s+\w{1,20})\b",
        r"\bfrom\s+now\s+on\s*,?\s+you\b",
        r"\brole\s*:\s*system\b",
    ),
}
LUHN_NINE: Final = 9


class Promptguard(Module):
    """Stand-ins are numbered by value: the model still sees which mentions are the same."""

    COUNTS = ("redact", "block", "warn", "log", "restored")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Personal data first, then attacks."""
        pii, injection = settings["pii"], settings["injection"]
        kinds = [(name, linear(KINDS[name])) for name in KINDS if name in pii["patterns"]]
        kinds += [("custom", linear(pattern)) for pattern in pii["custom"]]
        look, attacks = Detection(self.counted), tuple(_attacks(injection))

        def request(exchange: Exchange) -> None:
            Hiding(exchange, look, pii["mode"]).hide(kinds)
            look.request(exchange, attacks, OPERATORS)
            if exchange.restore:
                self.counted["restored"] += 1

        return Steps(request=request)


def _attacks(settings: Mapping[str, Any]) -> list[Detector]:
    if not settings["enabled"]:
        return []
    levels = tuple(INJECTIONS)
    taken = levels[: levels.index(settings["sensitivity"]) + 1]
    action = {"block": BLOCK, "warn": WARN, "log": LOG}[settings["action"]]
    patterns = [linear(pattern, ignore_case=True) for level in taken for pattern in INJECTIONS[level]]
    return [Detector("promptguard.injection", "injection", pattern, action, "promptguard") for pattern in patterns]


class Hiding:
    """Hides one call's personal data."""

    def __init__(self, exchange: Exchange, look: Detection, mode: str) -> None:
        self._exchange = exchange
        self._look = look
        self._mode = mode
        self._names: dict[tuple[str, str], str] = {}

    def hide(self, kinds: list[tuple[str, Linear]]) -> None:
        """Put stand-ins in the place of what is found; Problem 403 where it blocks."""
        action = BLOCK if self._mode == "block" else REDACT
        for name, pattern in kinds:
            real = is_card if name == "credit_card" else None
            rule = f"promptguard.{name}"

            def said(found: Any, name: str = name) -> str:
                return self._stand_in(name, found.group())

            detector = Detector(rule, "pii", pattern, action, "promptguard", said=said, real=real)
            self._look.request(self._exchange, (detector,), OPERATORS)
        if self._mode == "redact-restore" and self._names:
            self._exchange.restore = {stand_in: value for (_, value), stand_in in self._names.items()}

    def _stand_in(self, kind: str, value: str) -> str:
        known = self._names.get((kind, value))
        if known is None:
            number = 1 + sum(name == kind for name, _ in self._names)
            known = self._names[kind, value] = f"[{kind.upper()}_REDACTED_{number}]"
        return known


def is_card(found: Any) -> bool:
    """Whether the digits add up as those of a payment card do (ISO/IEC 7812-1, annex B)."""
    digits = [int(digit) for digit in found.group() if digit.isdigit()]
    doubled = [d * 2 - LUHN_NINE * (d * 2 > LUHN_NINE) for d in digits[-2::-2]]
    return (sum(digits[::-2]) + sum(doubled)) % 10 == 0
