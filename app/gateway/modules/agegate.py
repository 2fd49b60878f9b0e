"""Age gate: leaves out of answers what is not for young readers, and asks the model to write for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules.bodies import with_system
from app.gateway.modules.detectors import BLOCK, REDACT, Detection, Detector, Line
from app.gateway.modules.toxicfilter import CATEGORIES
from app.gateway.patterns import linear
from app.gateway.steps import Module, Steps

READERS: Final = {
    "child": "Your reader is a child under thirteen. Use simple words; leave out violence, sex, drugs and swearing.",
    "teen": "Your reader is a teenager. Leave out graphic violence, sexual content, drug use and swearing.",
}
DRUGS: Final = r"\b(?:cocaine|heroin|meth(?:amphetamine)?|ecstasy|lsd|weed|marijuana|vodka|whisk(?:e)?y|cigarettes?)\b"
UNSUITED: Final[Mapping[str, Mapping[str, str]]] = {"teen": CATEGORIES, "child": {**CATEGORIES, "drugs": DRUGS}}


class Agegate(Module):
    """`block` refuses an answer that does not suit them; `rewrite` takes the unsuited words out."""

    COUNTS = ("block", "redact")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """A word to the model before, a look at its answer after."""
        tier, action = settings["tier"], BLOCK if settings["action"] == "block" else REDACT
        detectors = [
            Detector(f"agegate.{name}", "toxic", linear(pattern, ignore_case=True), action, "agegate")
            for name, pattern in UNSUITED[tier].items()
        ]
        look = Detection(self.counted)

        def request(exchange: Exchange) -> None:
            exchange.body = with_system(exchange.body, READERS[tier])

        def texts(exchange: Exchange) -> Line:
            return Line([look.flow(exchange, detector) for detector in detectors])

        return Steps(request=request, texts=texts)
