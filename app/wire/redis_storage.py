"""Where several workers count limits together: Redis, with the database standing by."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from limits.storage import RedisStorage, Storage
from redis import RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from app.wire.shared_storage import DatabaseStorage, hashed

log = logging.getLogger("yardmaster.limits")
T = TypeVar("T")
PREFIX = "yardmaster:limits"
# A Redis that is merely slow must not make every request slow.
PATIENCE_S = 0.25
REST_S = 5.0


class StandbyStorage(Storage):
    """Redis, and the database whenever Redis does not answer: limits hold through its outage.

    Counts start anew at the switch, so a caller gets at most one window more. Redis is asked again after five seconds.
    """

    STORAGE_SCHEME = ["standby"]  # noqa: RUF012 (the registry of `limits` reads it)

    def __init__(
        self, uri: str = "standby://", *, redis_url: str, engine: Engine, wrap_exceptions: bool = False
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        patience: Any = {"socket_timeout": PATIENCE_S, "socket_connect_timeout": PATIENCE_S}
        once: Any = Retry(NoBackoff(), 0)
        self._redis = RedisStorage(redis_url, key_prefix=PREFIX, retry=once, **patience)
        self._database = DatabaseStorage(engine=engine)
        self._rests_until = 0.0

    @property
    def base_exceptions(self) -> type[Exception]:
        """What is left to raise when neither answers."""
        return DBAPIError

    def _ask(self, first: Callable[[], T], second: Callable[[], T]) -> T:
        if time.monotonic() >= self._rests_until:
            try:
                return first()
            except (RedisError, OSError) as error:
                self._rests_until = time.monotonic() + REST_S
                log.warning("Redis does not answer (%s); limits are counted in the database", type(error).__name__)
        return second()

    def count(self, key: str, expiry: int, amount: int = 1) -> tuple[int, float]:
        """As the database's."""
        return self._ask(
            lambda: (self._redis.incr(hashed(key), expiry, amount), self._redis.get_expiry(hashed(key))),
            lambda: self._database.count(key, expiry, amount),
        )

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """The hits so far, these included."""
        return self.count(key, expiry, amount)[0]

    def get(self, key: str) -> int:
        """The hits of the running window."""
        return self._ask(lambda: self._redis.get(hashed(key)), lambda: self._database.get(key))

    def get_expiry(self, key: str) -> float:
        """When the running window ends, in epoch seconds."""
        return self._ask(lambda: self._redis.get_expiry(hashed(key)), lambda: self._database.get_expiry(key))

    def check(self) -> bool:
        """Whether Redis answers: asked at the start, when nothing has been promised yet."""
        return self._redis.check()

    def reset(self) -> int:
        """Forget every count, in both."""
        return (self._redis.reset() or 0) + self._database.reset()

    def clear(self, key: str) -> None:
        """Forget one count, in both."""
        self._ask(lambda: self._redis.clear(hashed(key)), lambda: None)
        self._database.clear(key)
