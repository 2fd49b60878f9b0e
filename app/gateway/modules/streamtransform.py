"""Stream transform: an operator's replacements in answers, across the borders of a stream's chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.gateway.exchange import Exchange
from app.gateway.flow import Flow
from app.gateway.modules.detectors import Line
from app.gateway.patterns import linear
from app.gateway.steps import Module, Steps


class Streamtransform(Module):
    """Replacements apply one after another; plain answers take them too."""

    COUNTS = ("replaced",)

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Nothing while there is nothing to replace."""
        pairs = [(linear(pair["pattern"]), pair["replacement"]) for pair in settings["replacements"]]
        window = settings["window"]
        if not pairs:
            return Steps()

        def texts(_exchange: Exchange) -> Line:
            return Line([Flow(pattern, self._with(text), window) for pattern, text in pairs])

        return Steps(texts=texts)

    def _with(self, text: str) -> Callable[[Any], str]:
        def replaced(_found: Any) -> str:
            self.counted["replaced"] += 1
            return text

        return replaced
