"""Toxic filter: words and phrases of harm, hate, violence, self-harm, sex and swearing; a net, and no judge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules.detectors import WARN, Detection, Detector, Line
from app.gateway.patterns import linear
from app.gateway.steps import Module, Steps

_PEOPLE: Final = (
    r"(?:jews|muslims|christians|hindus|blacks|whites|asians|arabs|gays|lesbians|immigrants|refugees|women|"
    r"disabled\s+people|trans\s+people|foreigners)"
)
CATEGORIES: Final[Mapping[str, str]] = {
    "harmful": (
        r"\b(?:how\s+to|instructions?\s+(?:for|to)|steps\s+to|recipe\s+for|guide\s+to)\s+(?:\w+\s+){0,3}"
        r"(?:bombs?|explosives?|nerve\s+agents?|poison\s+gas|napalm|meth(?:amphetamine)?|ransomware|malware|"
        r"counterfeit\s+money|ghost\s+guns?)\b"
    ),
    "hate_speech": (
        rf"\b(?:kill|exterminate|gas|deport|eradicate|hate)\s+(?:all\s+)?(?:the\s+)?{_PEOPLE}\b"
        rf"|\b(?:all\s+)?{_PEOPLE}\s+(?:are|should\s+be)\s+(?:vermin|subhuman|animals|parasites|killed|exterminated)\b"
    ),
    "violence": (
        r"\b(?:i\s+will|i'?ll|going\s+to|want\s+to)\s+(?:kill|murder|stab|shoot|strangle|behead)\s+\w+"
        r"|\b(?:decapitat|disembowel|dismember|mutilat)(?:e|ed|ing|ion)\b"
    ),
    "self_harm": (
        r"\b(?:how\s+to|ways?\s+to|best\s+way\s+to|want\s+to|going\s+to)\s+(?:kill|hurt|harm|cut)\s+(?:myself|yourself)\b"
        r"|\b(?:commit|committing)\s+suicide\b|\bend\s+(?:my|your)\s+(?:own\s+)?life\b"
    ),
    "sexual": r"\b(?:porn(?:ography|ographic)?|(?:blow|hand)\s?jobs?|orgasms?|masturbat(?:e|es|ing|ion)|erotica?)\b",
    "profanity": r"\b(?:(?:mother)?fuck(?:s|ed|ers?|ing)?|(?:bull)?shit(?:s|ty)?|assholes?|bitch(?:es)?|bastards?)\b",
}


class Toxicfilter(Module):
    """Each category has an action of its own; `flag` notes and warns."""

    COUNTS = ("block", "redact", "warn")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Prompts, answers, or both."""
        detectors = tuple(_detectors(settings))
        look = Detection(self.counted)

        def request(exchange: Exchange) -> None:
            look.request(exchange, detectors)

        def texts(exchange: Exchange) -> Line:
            return Line([look.flow(exchange, detector) for detector in detectors])

        return Steps(
            request=request if settings["scan_input"] and detectors else None,
            texts=texts if settings["scan_output"] and detectors else None,
        )


def _detectors(settings: Mapping[str, Any]) -> list[Detector]:
    wanted = [(name, pattern, settings[name]) for name, pattern in CATEGORIES.items() if settings[name] != "off"]
    wanted += [(custom["name"], custom["pattern"], custom["action"]) for custom in settings["custom"]]
    return [
        Detector(
            f"toxicfilter.{name}"[:100],
            "toxic",
            linear(pattern, ignore_case=True),
            WARN if action == "flag" else action,
            "toxicfilter",
        )
        for name, pattern, action in wanted
    ]
