"""Embedding cache: remembers embeddings text by text, so that indexing the same document again costs nothing."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import orjson

from app.gateway.exchange import Exchange
from app.gateway.modules.catalogue import parse_duration
from app.gateway.steps import Module, Steps
from app.gateway.usage import to_openai
from app.gateway.wire import Answer, Json, Kind, Usage
from app.problems import Problem

# What changes how an embedding is asked for, and not what it is.
NOT_IN_KEY: Final = frozenset({"input", "user"})
# A worker's share of memory, whatever the number of entries allowed: a vector is some kilobytes.
MOST_BYTES: Final = 256 * 1024 * 1024


@dataclass(slots=True)
class Asked:
    """One call's texts by their keys, the rows known already, and the places of those that are asked for."""

    keys: list[bytes]
    known: dict[int, bytes] = field(default_factory=dict)
    missing: list[int] = field(default_factory=list)


class Embedcache(Module):
    """By tenant, model and everything else the call says; only what is missing goes to the provider."""

    COUNTS = ("hits", "misses", "evicted")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._held: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self._bytes = 0

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Before the provider, and after it."""
        most, ttl = settings["max_entries"], parse_duration(settings["ttl"])

        def vectors(exchange: Exchange, answer: Answer) -> Answer:
            asked = exchange.embedded
            return self._completed(asked, answer, most, ttl) if isinstance(asked, Asked) else answer

        return Steps(request=self._request, vectors=vectors)

    def _request(self, exchange: Exchange) -> None:
        texts = _texts(exchange)
        if texts is None:
            return
        asked = self._look(exchange, texts)
        if asked.missing:
            exchange.embedded = asked
            exchange.body = {**exchange.body, "input": [texts[at] for at in asked.missing]}
        else:
            _answer(exchange, asked)

    def _completed(self, asked: Asked, answer: Answer, most: int, ttl: float) -> Answer:
        """The provider's vectors among those that were known."""
        rows = answer.body["data"]
        if len(rows) != len(asked.missing):
            raise Problem(502, f"{len(asked.missing)} texts were sent, and {len(rows)} vectors came back")
        for at, row in zip(asked.missing, rows, strict=True):
            asked.known[at] = orjson.dumps(row["embedding"])
            self._keep(asked.keys[at], asked.known[at], most, ttl)
        return Answer(answer.body | {"data": _rows(asked)}, answer.usage)

    def stats(self) -> Json:
        """With what it holds now."""
        return super().stats() | {"entries": len(self._held), "bytes": self._bytes}

    def forget(self) -> None:
        """Let go of every vector."""
        self._held.clear()
        self._bytes = 0

    def _look(self, exchange: Exchange, texts: list[str]) -> Asked:
        asked = Asked(_keys(exchange, texts))
        fresh = exchange.call.arguments.get("x_stockyard_no_cache") == "true"
        for at, key in enumerate(asked.keys):
            found = self._held.get(key)
            if found is None or found[1] <= self._clock() or fresh:
                asked.missing.append(at)
            else:
                self._held.move_to_end(key)
                asked.known[at] = found[0]
        self.counted["hits"] += len(asked.known)
        self.counted["misses"] += len(asked.missing)
        return asked

    def _keep(self, key: bytes, vector: bytes, most: int, ttl: float) -> None:
        old = self._held.pop(key, None)
        self._held[key] = (vector, self._clock() + ttl)
        self._bytes += len(vector) - (len(old[0]) if old else 0)
        while len(self._held) > most or self._bytes > MOST_BYTES:
            _, (gone, _) = self._held.popitem(last=False)
            self._bytes -= len(gone)
            self.counted["evicted"] += 1


def _texts(exchange: Exchange) -> list[str] | None:
    """The texts of an embeddings call; None for tokens, and for any other call."""
    given = exchange.body.get("input") if exchange.kind is Kind.EMBEDDINGS else None
    texts = [given] if isinstance(given, str) else given
    return texts if isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts) else None


def _keys(exchange: Exchange, texts: list[str]) -> list[bytes]:
    principal = exchange.call.principal
    rest = {name: value for name, value in exchange.body.items() if name not in NOT_IN_KEY}
    tenant = f"{principal.user_id}:{principal.subject if principal.user_id is None else ''}"
    said = [tenant, sha256(principal.secret.encode()).hexdigest(), exchange.model, exchange.wanted_provider, rest]
    head = sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).digest()
    return [sha256(head + text.encode()).digest() for text in texts]


def _rows(asked: Asked) -> list[Json]:
    return [
        {"object": "embedding", "index": at, "embedding": orjson.loads(asked.known[at])}
        for at in range(len(asked.keys))
    ]


def _answer(exchange: Exchange, asked: Asked) -> None:
    usage = Usage()
    body = {"object": "list", "data": _rows(asked), "model": exchange.model}
    exchange.provider, exchange.made = "embedcache", Answer(body | {"usage": to_openai(usage, exchange.kind)}, usage)
