"""Reservations in Redis, for servers that share one: each is a Lua script, which Redis runs alone.

What was spent stays the database's to say: its counters are written with the traces. Redis is brought in step with them
every second: first what was spent, then what recorded calls held is let go, so that in between a call counts twice
rather than not at all. A Redis that forgets begins again with what the database says; only what calls under way at that
moment held is lost. Lua counts in doubles: a budget is exact up to 9 million dollars (2**53 nano-dollars).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2s
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Engine, select
from sqlalchemy.exc import DBAPIError

from app.gateway.caps.lua import HELD, MISSING, PUSH, RELEASE, RESERVE, SEED, SETTLE
from app.gateway.caps.store import (
    LEASE_S,
    SETTLED_S,
    Limit,
    Operation,
    Outcome,
    Refusal,
    Reserve,
    Settle,
    StoreError,
)
from app.services.spending.counters import Key, Standing, expire, only_spender, read, standings
from app.services.spending.periods import resets_at
from models.base import now, transaction
from models.traces import Trace

PREFIX = "yardmaster:spend"
PATIENCE_S = 1.0
AT_ONCE = 1_000
# How long counters are brought in step after they were last asked for.
WATCHED_S = 60.0
KEPT_S = 2 * 86_400
EXPIRE_EVERY_S = 60.0


class RedisStore:
    """Counters and holds as hashes, leases and settlements as sorted sets."""

    def __init__(self, url: str, engine: Engine) -> None:
        patience: Any = {"socket_timeout": PATIENCE_S, "socket_connect_timeout": PATIENCE_S}
        once: Any = Retry(NoBackoff(), 0)
        self._redis: Any = redis.Redis.from_url(url, decode_responses=True, retry=once, **patience)
        self._engine = engine
        # Servers on one database share their counters, others in the same Redis have their own.
        self._space = f"{PREFIX}:{blake2s(str(engine.url.database).encode(), digest_size=6).hexdigest()}"
        self._leases, self._settled = f"{self._space}:leases", f"{self._space}:settled"
        register = self._redis.register_script
        self._reserve, self._settle, self._release = register(RESERVE), register(SETTLE), register(RELEASE)
        self._seed, self._push = register(SEED), register(PUSH)
        self._asked: dict[Key, float] = {}
        self._expired = 0.0

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, OSError, DBAPIError) as error:
            raise StoreError(type(error).__name__) from error

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Settle what is settled, which may make room, then reserve in the order asked."""
        with self._answering():
            self._settle_all([o for o in operations if isinstance(o, Settle)])
            asked = [o for o in operations if isinstance(o, Reserve)]
            refused = {o.id: outcome for o, outcome in zip(asked, self._reserve_all(asked), strict=True)}
        return [refused.get(o.id) for o in operations]

    def _settle_all(self, settled: Sequence[Settle]) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for operation in settled:
                keys = [self._leases, self._settled, self._hold(operation.id)]
                self._settle(keys=keys, args=[operation.id, operation.cost, time.time()], client=pipe)
            pipe.execute()

    def _reserve_all(self, asked: Sequence[Reserve]) -> list[Outcome]:
        moment, keys = time.monotonic(), {limit.key for operation in asked for limit in operation.limits}
        if idle := keys - self._asked.keys():  # nobody here kept these in step
            self._begin(idle)
        self._asked |= dict.fromkeys(keys, moment)
        with self._redis.pipeline(transaction=False) as pipe:
            for operation in asked:
                self._reserve(*self._reservation(operation), client=pipe)
            answers = pipe.execute()
        return [self._outcome(o, a) or self._again(o, a) for o, a in zip(asked, answers, strict=True)]

    def _again(self, operation: Reserve, answer: Sequence[Any]) -> Outcome:
        """Once more, where Redis knew no counter: it begins with what the database says."""
        if answer[0] != MISSING:
            return None
        self._begin({limit.key for limit in operation.limits})
        answer = self._reserve(*self._reservation(operation))
        if answer[0] == MISSING:
            raise StoreError("Redis keeps no counter")
        return self._outcome(operation, answer)

    def _reservation(self, operation: Reserve) -> tuple[list[str], list[Any]]:
        """Each counter once, with the tightest of its budgets."""
        most: dict[Key, int | None] = {}
        for limit in operation.limits:
            bounds = [bound for bound in (most.get(limit.key), limit.most) if bound is not None]
            most[limit.key] = min(bounds, default=None)
        keys = [self._leases, self._hold(operation.id), *map(self._counter, most)]
        told: list[Any] = ["" if bound is None else bound for bound in most.values()]
        return keys, [operation.id, operation.amount, time.time() + LEASE_S, *told]

    def _outcome(self, operation: Reserve, answer: Sequence[Any]) -> Outcome:
        if answer[0] in {HELD, MISSING}:
            return None
        found = {self._key(name): Standing(int(spent), int(held)) for name, spent, held in _threes(answer[1:])}
        over = [(limit, found[limit.key]) for limit in operation.limits if limit.key in found and _tight(limit)]
        full = [(limit, s) for limit, s in over if s.spent + s.reserved + operation.amount > (limit.most or 0)]
        return Refusal(tuple(full or over))

    def _begin(self, keys: Collection[Key]) -> None:
        with transaction(self._engine) as session:
            connection = session.connection()
            only_spender(connection)
            found = standings(connection, keys)
        for key, held in found.items():
            left = max(0, int(resets_at(key.period).timestamp() - time.time()))
            self._seed(keys=[self._counter(key)], args=[held.spent, held.version, left + KEPT_S])
            self._push(keys=[self._counter(key)], args=[held.spent, held.version])

    def renew(self, ids: Collection[str]) -> None:
        """Keep what these calls hold from expiring."""
        until = time.time() + LEASE_S
        with self._answering():
            self._redis.zadd(self._leases, dict.fromkeys(ids, until), xx=True)

    def tend(self) -> None:
        """End what expired, bring the counters in step with the database, let go what recorded calls held."""
        with self._answering():
            moment = time.time()
            expired = self._redis.zrangebyscore(self._leases, "-inf", moment, start=0, num=AT_ONCE)
            settled = self._redis.zrange(self._settled, 0, AT_ONCE - 1, withscores=True)
            lapsed = {id_ for id_, since in settled if since < moment - SETTLED_S}
            done = self._in_step([id_ for id_, _ in settled])
            self._let_go({*expired, *lapsed, *done})
            self._expire_rows()

    def _in_step(self, settled: Sequence[str]) -> set[str]:
        """Those that are recorded; what the counters say is newer than that, so they are in it."""
        horizon = time.monotonic() - WATCHED_S
        asked = dict(self._asked)
        for key in [key for key, at in asked.items() if at <= horizon]:
            self._asked.pop(key, None)  # one by one: calls ask for others meanwhile
        with transaction(self._engine, write=False) as session:
            recorded = set(session.scalars(select(Trace.id).where(Trace.id.in_(list(settled)))))
            keys = {*asked, *self._keys_of(recorded)}
            found = read(session.connection(), keys) if keys else {}
        with self._redis.pipeline(transaction=False) as pipe:
            for key, held in found.items():
                self._push(keys=[self._counter(key)], args=[held.spent, held.version], client=pipe)
            pipe.execute()
        return recorded

    def _keys_of(self, ids: Iterable[str]) -> set[Key]:
        with self._redis.pipeline(transaction=False) as pipe:
            for id_ in ids:
                pipe.hget(self._hold(id_), "counters")
            return {self._key(name) for names in pipe.execute() if names for name in names.split("\0")}

    def _let_go(self, ids: Iterable[str]) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for id_ in ids:
                self._release(keys=[self._leases, self._settled, self._hold(id_)], args=[id_], client=pipe)
            pipe.execute()

    def _expire_rows(self) -> None:
        """Old counters in the database, and holds from before Redis was set."""
        if time.monotonic() >= self._expired + EXPIRE_EVERY_S:
            self._expired = time.monotonic()
            with transaction(self._engine) as session:
                expire(session.connection(), now())

    def _hold(self, id_: str) -> str:
        return f"{self._space}:hold:{id_}"

    def _counter(self, key: Key) -> str:
        return f"{self._space}:counter:{key.period}:{key.scope}:{key.ref}"

    def _key(self, name: str) -> Key:
        return Key(*name.removeprefix(f"{self._space}:counter:").split(":", 2))


def _tight(limit: Limit) -> bool:
    return limit.most is not None


def _threes(values: Sequence[Any]) -> Iterator[tuple[Any, Any, Any]]:
    return zip(values[::3], values[1::3], values[2::3], strict=True)
