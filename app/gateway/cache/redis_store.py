"""Shared answers in Redis: a string each, which Redis itself lets expire, and for each epoch an index of them."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2s
from itertools import groupby
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Engine

from app.gateway.cache.store import Entry, Room, Stored

PREFIX: Final = "yardmaster:answers"
# Who waits for an answer of the provider's gladly waits this long for one that costs nothing.
READ_S: Final = 0.05
WRITE_S: Final = 1.0
AT_ONCE: Final = 500
ALL: Final = "*"
# An index outlives its answers by this, should nobody come to delete it.
SPARE_MS: Final = 3_600_000

# KEYS: index, sizes, epochs. ARGV: epoch, spare milliseconds, prefix of names, then for each answer: key, when it
# expires and how long that is (milliseconds), what is stored.
PUT: Final = f"""
for at = 4, #ARGV, 4 do
  local key, expires, left, sealed = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3]
  local old = tonumber(redis.call('HGET', KEYS[2], key) or 0)
  redis.call('SET', ARGV[3] .. key, expires .. ' ' .. sealed, 'PX', left)
  redis.call('ZADD', KEYS[1], expires, key)
  redis.call('HSET', KEYS[2], key, #sealed)
  redis.call('HINCRBY', KEYS[2], '{ALL}', #sealed - old)
  local keep = left + tonumber(ARGV[2])
  for name = 1, 2 do
    if redis.call('PTTL', KEYS[name]) < keep then redis.call('PEXPIRE', KEYS[name], keep) end
  end
end
redis.call('SADD', KEYS[3], ARGV[1])
"""
# KEYS: index, sizes. ARGV: now, the most answers, the most bytes, prefix of names, the most to delete at once.
TEND: Final = f"""
local gone = 0
local function drop(key)
  redis.call('DEL', ARGV[4] .. key)
  redis.call('ZREM', KEYS[1], key)
  redis.call('HINCRBY', KEYS[2], '{ALL}', -tonumber(redis.call('HGET', KEYS[2], key) or 0))
  redis.call('HDEL', KEYS[2], key)
  gone = gone + 1
end
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[5])) do drop(key) end
local function full()
  local bytes = tonumber(redis.call('HGET', KEYS[2], '{ALL}') or 0)
  return redis.call('ZCARD', KEYS[1]) > tonumber(ARGV[2]) or bytes > tonumber(ARGV[3])
end
while gone < tonumber(ARGV[5]) and full() do
  local oldest = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
  if not oldest then break end
  drop(oldest)
end
return gone
"""


class RedisStore:
    """Servers on one database share their answers; others in the same Redis have their own."""

    name = "redis"

    def __init__(self, url: str, engine: Engine) -> None:
        self._reading, self._redis = _client(url, READ_S), _client(url, WRITE_S)
        self._space = f"{PREFIX}:{blake2s(str(engine.url.database).encode(), digest_size=6).hexdigest()}"
        self._epochs = f"{self._space}:epochs"
        self._put, self._tend = self._redis.register_script(PUT), self._redis.register_script(TEND)

    def get(self, keys: Collection[str], epoch: int) -> Mapping[str, Stored]:
        """One look-up for all of them."""
        asked = list(keys)
        found = self._reading.mget([self._named(epoch) + key for key in asked])
        return {key: _stored(value) for key, value in zip(asked, found, strict=True) if value is not None}

    def put(self, entries: Sequence[Entry]) -> None:
        """One script for each epoch; what is over by then is not stored."""
        moment = time.time()
        by_epoch = groupby(sorted(entries, key=lambda entry: entry.epoch), lambda entry: entry.epoch)
        for epoch, group in by_epoch:
            told = [part for entry in group if entry.expires > moment for part in _told(entry, moment)]
            if told:
                keys = [*self._index(epoch), self._epochs]
                self._put(keys=keys, args=[epoch, SPARE_MS, self._named(epoch), *told])

    def tend(self, room: Room, epoch: int) -> None:
        """Some at a time, so that Redis serves others in between."""
        for over in self._known():
            if over < epoch:
                self._forget(over)
        args = [int(time.time() * 1000), *room, self._named(epoch), AT_ONCE]
        while self._tend(keys=self._index(epoch), args=args) >= AT_ONCE:
            pass

    def held(self, epoch: int) -> tuple[int, int]:
        """Fresh answers of this epoch."""
        index, sizes = self._index(epoch)
        entries = self._redis.zcount(index, int(time.time() * 1000), "+inf")
        return int(entries), int(self._redis.hget(sizes, ALL) or 0) if entries else 0

    def clear(self, epoch: int) -> int:
        """Epoch by epoch."""
        return sum(self._forget(known) for known in self._known() if known <= epoch)

    def _known(self) -> Iterable[int]:
        return sorted(int(epoch) for epoch in self._redis.smembers(self._epochs))

    def _forget(self, epoch: int) -> int:
        gone, index = 0, self._index(epoch)
        while keys := self._redis.zpopmin(index[0], AT_ONCE):
            gone += self._redis.delete(*(self._named(epoch) + key for key, _ in keys))
        self._redis.delete(*index)
        self._redis.srem(self._epochs, epoch)
        return gone

    def _named(self, epoch: int) -> str:
        return f"{self._space}:{epoch}:answer:"

    def _index(self, epoch: int) -> list[str]:
        return [f"{self._space}:{epoch}:index", f"{self._space}:{epoch}:sizes"]


def _client(url: str, patience_s: float) -> Any:
    patience: Any = {"socket_timeout": patience_s, "socket_connect_timeout": patience_s}
    once: Any = Retry(NoBackoff(), 0)
    return redis.Redis.from_url(url, decode_responses=True, retry=once, **patience)


def _told(entry: Entry, moment: float) -> tuple[str, int, int, str]:
    left = max(1, int((entry.expires - moment) * 1000))
    return entry.key, int(entry.expires * 1000), left, entry.sealed


def _stored(value: str) -> Stored:
    expires, _, sealed = value.partition(" ")
    return Stored(sealed, int(expires) / 1000)
