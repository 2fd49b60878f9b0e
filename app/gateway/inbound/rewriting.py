"""A provider's wire whose requests are rewritten first, and nothing else of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.gateway.wire import Answer, Json, Kind, Outgoing, Refusal, Target, Wire

if TYPE_CHECKING:
    from app.gateway.wire import Decoder


class RewritingWire:
    """Asks for the rewritten body; reads as the provider's wire does."""

    __slots__ = ("_rewrite", "_wire")

    def __init__(self, wire: Wire, rewrite: Callable[[Json], Json]) -> None:
        self._wire = wire
        self._rewrite = rewrite

    def outgoing(self, kind: Kind, body: Json, target: Target) -> Outgoing:
        """The request; ValueError when it cannot be rewritten."""
        return self._wire.outgoing(kind, self._rewrite(body), target)

    def answer(self, kind: Kind, raw: bytes, model: str) -> Answer:
        """As the provider's wire reads it."""
        return self._wire.answer(kind, raw, model)

    def decoder(self, kind: Kind, model: str) -> Decoder:
        """As the provider's wire reads it."""
        return self._wire.decoder(kind, model)

    def refusal(self, status: int, raw: bytes) -> Refusal:
        """As the provider's wire reads it."""
        return self._wire.refusal(status, raw)
