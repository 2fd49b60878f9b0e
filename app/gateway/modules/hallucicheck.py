"""Hallucination check: links and addresses in an answer that appear nowhere in what was asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules.bodies import texts as texts_of
from app.gateway.modules.detectors import WARN, Detection, Detector, Line
from app.gateway.modules.promptguard import KINDS
from app.gateway.patterns import Linear, linear
from app.gateway.steps import Module, Steps

PATTERNS: Final[Mapping[str, Linear]] = {
    "url": linear(r"\bhttps?://[^\s<>\"'`\])}]+[^\s<>\"'`\])}.,;:!?]", ignore_case=True),
    "email": linear(KINDS["email"]),
}


class Hallucicheck(Module):
    """What the request holds is supported; what lies under an allowed domain is never marked."""

    COUNTS = ("block", "redact", "warn")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """The same for plain answers and streams."""
        action = WARN if settings["action"] == "flag" else settings["action"]
        allowed = tuple(domain.lower().strip(".") for domain in settings["allowed_domains"])
        look = Detection(self.counted)

        def texts(exchange: Exchange) -> Line:
            asked = "\n".join(texts_of(exchange.body))

            def unsupported(found: Any) -> bool:
                return found.group() not in asked and not _is_allowed(found.group(), allowed)

            detectors = [
                Detector(f"hallucicheck.{kind}", "custom", PATTERNS[kind], action, "hallucicheck", real=unsupported)
                for kind in settings["kinds"]
            ]
            return Line([look.flow(exchange, detector) for detector in detectors])

        return Steps(texts=texts)


def _is_allowed(text: str, domains: tuple[str, ...]) -> bool:
    host = text.rpartition("@")[2] if "://" not in text else text.split("/")[2].rpartition("@")[2].partition(":")[0]
    return any(host.lower() == domain or host.lower().endswith(f".{domain}") for domain in domains)
