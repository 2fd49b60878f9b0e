"""The answer cache as the lane asks it: this worker's memory, what all workers share, and what was asked alike."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from app.gateway.cache.flights import Flights
from app.gateway.cache.keys import key_of
from app.gateway.cache.memory import AnswerCache, Found, Kept
from app.gateway.cache.shared import Fresh, SharedAnswers
from app.gateway.cache.similar import Embed, Similar
from app.gateway.cache.store import Room
from app.gateway.cache.stores import store_of
from app.gateway.modules.catalogue import parse_duration
from app.security.sealing import Keyring
from app.settings import Settings

if TYPE_CHECKING:
    from app.gateway.config import Config
    from app.gateway.exchange import Exchange
    from app.gateway.wire import Answer

MEGABYTE = 1024 * 1024
SEMANTIC = "semantic"


@dataclass(slots=True)
class Counts:
    """What one worker's cache did: hits by where the answer was, misses, and nano-dollars that hits saved."""

    memory: int = 0
    shared: int = 0
    similar: int = 0
    misses: int = 0
    saved_nano: int = 0

    @property
    def hits(self) -> int:
        """All of them."""
        return self.memory + self.shared + self.similar


class Answers:
    """One worker's answers. `known` is the fast path and never waits; `found` looks everywhere else."""

    def __init__(self, engine: Engine, settings: Settings, secrets: Keyring, embed: Embed) -> None:
        self.memory = AnswerCache()
        self.shared = SharedAnswers(store_of(engine, settings), secrets)
        self.counts = Counts()
        self._similar, self._flights = Similar(embed), Flights()
        self.under_way = self._flights.under_way

    def configure(self, config: Config) -> bool:
        """Take over the settings; whether what was kept until now is of an earlier epoch."""
        settings = config.of("cachelayer")
        self.shared.room = Room(settings["max_entries"], settings["shared_mb"] * MEGABYTE)
        self._sharing = settings["shared"]
        over = config.epoch != self.shared.epoch
        self.shared.epoch = config.epoch
        return over

    def known(self, exchange: Exchange, config: Config) -> Found | None:
        """The answer in memory. An answer that a module has or completes is none to keep."""
        if exchange.made is not None or exchange.embedded is not None:
            return None
        exchange.cache_key = key_of(exchange, config)
        if is_fresh_wanted(exchange):
            return None
        found = self.memory.get(exchange.cache_key)
        if found and found[1].similarity:
            self._tell(exchange, found[1].similarity)
        else:
            self.counts.memory += found is not None
        return found

    async def found(self, exchange: Exchange, config: Config) -> Found | None:
        """The answer that is kept elsewhere, is on its way, or was given to the same question in other words."""
        key = exchange.cache_key
        if key is None:
            return None
        settings, fresh = config.of("cachelayer"), is_fresh_wanted(exchange)
        found = None if fresh else await self._same(exchange, key, config, settings)
        if found is None and settings["strategy"] == SEMANTIC:
            found = await self._alike(exchange, key, config, fresh=fresh)
        self.counts.misses += found is None and not fresh
        return found

    def give(self, exchange: Exchange, found: Found) -> bytes:
        """Make this the call's answer; what it says on the client's wire."""
        raw, kept = found
        if exchange.inbound:  # it repeats the request, which may differ in what the answer does not depend on
            raw = exchange.presented(kept.body, kept.usage)
        exchange.cached, exchange.status, exchange.provider = True, "cache_hit", kept.provider
        exchange.usage, exchange.saved_nano, exchange.response = kept.usage, kept.cost_nano or 0, raw
        exchange.said, exchange.first_byte_us = kept.body, exchange.elapsed_us
        self.counts.saved_nano += exchange.saved_nano
        return raw

    def landed(self, exchange: Exchange) -> None:
        """A call that may be kept is over, whatever became of it."""
        if exchange.cache_key:
            self._flights.landed(exchange.cache_key, exchange.id)

    def keep(self, exchange: Exchange, answer: Answer, config: Config) -> None:
        """Keep an answer, here and for the others."""
        key, raw = exchange.cache_key, exchange.response
        if key is None or not raw:
            return
        settings = config.of("cachelayer")
        ttl = parse_duration(settings["ttl"])
        kept = Kept(answer.body, answer.usage, exchange.cost_nano, exchange.provider, self.memory.expiry(ttl))
        self.memory.put(key, raw, kept, settings["max_entries"])
        if exchange.question is not None:
            most = settings["semantic"]["max_entries"]
            self._similar.meanings.add(exchange.question, key, kept.expires, most)
        if settings["shared"] and ttl:
            user, said = exchange.call.principal.user_id, None if exchange.inbound else raw
            self.shared.put(Fresh(key.hex(), user, config.epoch, said, len(raw), kept, time.time() + ttl))

    async def held(self, config: Config) -> tuple[int, int] | None:
        """How many answers are shared, and their bytes; None while none are, or while the store does not say."""
        return await self.shared.held(config.epoch) if config.of("cachelayer")["shared"] else None

    def count(self) -> int:
        """How many answers are shared, or else in memory. It waits for the store: not for the event loop."""
        return self.shared.count() if self._sharing else self.memory.size[0]

    def clear(self, epoch: int) -> None:
        """Delete what was shared up to this epoch. It waits for the store: not for the event loop."""
        self.shared.clear(epoch)

    def forget(self) -> None:
        """Let go of answers of an earlier epoch, here and in the store."""
        self.memory.clear()
        self._similar.meanings.clear()
        self.shared.tidy()

    async def stop(self) -> None:
        """Write what the store has not taken yet."""
        await self.shared.stop()

    async def _same(self, exchange: Exchange, key: bytes, config: Config, settings: Mapping[str, Any]) -> Found | None:
        """The answer another worker kept, or the one a call just like this waits for."""
        found = await self._elsewhere(key, config) if settings["shared"] else None
        if found is None and settings["single_flight"]:
            until = time.monotonic() + parse_duration(settings["single_flight_wait"])
            while found is None and await self._flights.waited(key, exchange.id, until):
                found = self.memory.get(key)
                self.counts.memory += found is not None
        else:
            self.counts.shared += found is not None
        return found

    async def _elsewhere(self, key: bytes, config: Config) -> Found | None:
        """The answer that is shared, kept here from now on."""
        found = await self.shared.get(key.hex(), config.epoch)
        if found is None:
            return None
        raw, kept = found
        kept = replace(kept, expires=self.memory.expiry(kept.expires - time.time()))
        self.memory.put(key, raw, kept, config.of("cachelayer")["max_entries"])
        return raw, kept

    async def _alike(self, exchange: Exchange, key: bytes, config: Config, *, fresh: bool) -> Found | None:
        """The answer to the most similar question; kept for this one as well, so that no second vector is paid for."""
        settings = config.of("cachelayer")
        exchange.question = question = await self._similar.question(exchange, config)
        if question is None or fresh:
            return None
        near = self._similar.meanings.nearest(question, settings["semantic"]["threshold"])
        if near is None:
            return None
        found = self.memory.get(near[0]) or await self._elsewhere(near[0], config)
        if found is None:
            self._similar.meanings.drop(question, near[0])
            return None
        raw, kept = found[0], replace(found[1], similarity=near[1])
        self.memory.put(key, raw, kept, settings["max_entries"])
        self._tell(exchange, near[1])
        return raw, kept

    def _tell(self, exchange: Exchange, similarity: float) -> None:
        """Whoever is given the answer to another question is told so."""
        self.counts.similar += 1
        exchange.headers.append((b"x-stockyard-cache-similarity", b"%.4f" % similarity))
        exchange.details |= {"cache_similarity": round(similarity, 4)}


def is_fresh_wanted(exchange: Exchange) -> bool:
    """Whether the caller asked for an answer that is not from the cache."""
    return exchange.call.arguments.get("x_stockyard_no_cache") == "true"
