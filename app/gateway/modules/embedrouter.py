"""Embedding router: the embedding model is chosen by the language and the length of what is embedded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules.conditions import among, models
from app.gateway.modules.languages import language_of
from app.gateway.steps import Module, Steps
from app.gateway.wire import Kind

ANY: Final = "any"


class Embedrouter(Module):
    """Only calls for the names it is for: vectors of different models cannot be compared. A list is one choice."""

    COUNTS = ("routed", "default", "left")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """The rules in order."""
        rules, default, meant = settings["rules"], settings["default"], among(settings["models"])

        def request(exchange: Exchange) -> None:
            if exchange.kind is not Kind.EMBEDDINGS or not meant(models(exchange)[0]):
                return
            texts = _texts(exchange.body.get("input"))
            found = next((rule["model"] for rule in rules if texts and _fits(rule, texts)), "")
            self.counted["routed" if found else "default" if default else "left"] += 1
            exchange.model = found or default or exchange.model

        return Steps(request=request)


def _texts(given: Any) -> list[str]:
    """What is embedded, in words; nothing when it is tokens."""
    texts = [given] if isinstance(given, str) else given
    return texts if isinstance(texts, list) and all(isinstance(text, str) for text in texts) else []


def _fits(rule: Mapping[str, Any], texts: Sequence[str]) -> bool:
    """Whether all of the texts are short enough, and in the rule's language."""
    if max(map(len, texts)) > rule["max_chars"]:
        return False
    return rule["language"] == ANY or all(language_of(text) == rule["language"] for text in texts)
