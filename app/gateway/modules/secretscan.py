"""Secret scan: API keys, tokens and private keys are found in prompts and answers before anyone else finds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules.detectors import WARN, Detection, Detector, Line
from app.gateway.patterns import linear
from app.gateway.steps import Module, Steps

_GIVEN: Final = r"[\"']?[ \t]{0,3}[:=][ \t]{0,3}[\"']?"
# Shapes as the vendors document them; lengths open to the right, since keys have grown before.
PATTERNS: Final[Mapping[str, str]] = {
    "aws_key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "aws_secret": rf"(?i:aws_?(?:secret|session)[a-z_]{{0,20}}){_GIVEN}[A-Za-z0-9/+]{{40,}}",
    "github_pat": r"\b(?:ghp_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})",
    "github_token": r"\bgh[ousr]_[A-Za-z0-9]{36,}",
    "stripe_key": r"\b[rsp]k_(?:live|test)_[A-Za-z0-9]{10,}",
    "openai_key": r"\bsk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{20,}",
    "anthropic_key": r"\bsk-ant-[A-Za-z0-9_-]{20,}",
    "gcp_key": r"\bAIza[A-Za-z0-9_-]{35,}",
    "azure_key": rf"(?i:accountkey|azure[a-z_-]{{0,20}}key){_GIVEN}[A-Za-z0-9+/]{{32,}}={{0,2}}",
    "slack_token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "jwt": r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}",
    "private_key": r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[A-Za-z0-9+/=\s\\:,.-]*",
    "generic_secret": rf"(?i:api[_-]?key|secret|token|passw(?:or)?d){_GIVEN}[A-Za-z0-9_+/.=-]{{16,}}",
}


class Secretscan(Module):
    """Each kind is a detector of its own; `alert` notes and warns, and changes nothing."""

    COUNTS = ("redact", "block", "warn")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Prompts, answers, or both."""
        detectors = tuple(_detectors(settings))
        look = Detection(self.counted)

        def request(exchange: Exchange) -> None:
            look.request(exchange, detectors)

        def texts(exchange: Exchange) -> Line:
            return Line([look.flow(exchange, detector) for detector in detectors])

        return Steps(
            request=request if settings["scan_input"] else None, texts=texts if settings["scan_output"] else None
        )


def _detectors(settings: Mapping[str, Any]) -> list[Detector]:
    action = WARN if settings["action"] == "alert" else settings["action"]
    wanted = [(name, PATTERNS[name]) for name in PATTERNS if name in settings["patterns"]]
    wanted += [(f"custom_{place}", pattern) for place, pattern in enumerate(settings["custom"], start=1)]
    preview = bool(settings["mask_preview"])
    return [
        Detector(f"secretscan.{name}", "secret", linear(pattern), action, "secretscan", preview=preview)
        for name, pattern in wanted
    ]
