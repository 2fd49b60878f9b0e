"""The semantic strategy: a call that asks the same in other words, everything else being equal, is answered alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from app.gateway.cache.semantic import Meanings, Question, split, unit
from app.gateway.wire import Json

if TYPE_CHECKING:
    from app.gateway.config import Config
    from app.gateway.exchange import Exchange

# Asks the configured model for the vector of a text, at the caller's cost; None when there is none in time.
Embed = Callable[["Exchange", str, "Config", Mapping[str, Any]], Awaitable[Json | None]]


class Similar:
    """One worker's questions and how they become vectors."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed
        self.meanings = Meanings()

    async def question(self, exchange: Exchange, config: Config) -> Question | None:
        """What the call asks; None when meaning cannot stand for it, or when there is no vector.

        Callers with a provider's key of their own are not made to pay for vectors. Where stand-ins hide what is
        personal, another question has others.
        """
        if exchange.call.principal.secret or exchange.restore:
            return None
        parts = split(exchange, config)
        if parts is None:
            return None
        apart, text = parts
        answer = await self._embed(exchange, text, config, config.of("cachelayer")["semantic"])
        vector = unit(answer) if answer else None
        return Question(apart, vector) if vector else None
