"""Where several workers count limits together when there is no Redis: the database."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import timedelta
from hashlib import blake2s
from typing import Any

from limits.storage import Storage
from sqlalchemy import Connection, Engine, Insert, case, delete, literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from models.base import WRITE, Moment, now
from models.limits import RateWindow

INSERTS: dict[str, Callable[..., Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
SCHEME = "database"
SWEEP_ONCE_IN = 256
SWEEP_MOST = 1000


class DatabaseStorage(Storage):
    """Fixed windows in a table: each hit is one atomic upsert, so N workers never admit N times the limit."""

    STORAGE_SCHEME = [SCHEME]  # noqa: RUF012 (the registry of `limits` reads it)

    def __init__(self, uri: str = f"{SCHEME}://", *, engine: Engine, wrap_exceptions: bool = False) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._engine = engine
        self._insert = INSERTS[engine.dialect.name]

    @property
    def base_exceptions(self) -> type[Exception]:
        """What the database raises."""
        return DBAPIError

    def count(self, key: str, expiry: int, amount: int = 1) -> tuple[int, float]:
        """Count `amount` hits in the window of `expiry` seconds: the hits so far, and its end in epoch seconds."""
        with self._engine.connect().execution_options(**{WRITE: True}) as connection, connection.begin():
            hits, ends_at = connection.execute(self._upsert(hashed(key), expiry, amount)).one()
            if random.randrange(SWEEP_ONCE_IN) == 0:  # noqa: S311 (chance, not a secret)
                _sweep(connection)
        return hits, ends_at.timestamp()

    def _upsert(self, key: str, expiry: int, amount: int) -> Insert:
        moment = now()
        ends_at = moment + timedelta(seconds=expiry)
        over = RateWindow.ends_at <= moment
        renewed = {
            "hits": case((over, literal(amount)), else_=RateWindow.hits + amount),
            "ends_at": case((over, literal(ends_at, Moment())), else_=RateWindow.ends_at),
        }
        made = (
            self._insert(RateWindow)
            .values(key=key, hits=amount, ends_at=ends_at)
            .on_conflict_do_update(index_elements=["key"], set_=renewed)
        )
        statement: Insert = made.returning(RateWindow.hits, RateWindow.ends_at)
        return statement

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """The hits so far, these included."""
        return self.count(key, expiry, amount)[0]

    def get(self, key: str) -> int:
        """The hits of the running window."""
        return self._read(key)[0]

    def get_expiry(self, key: str) -> float:
        """When the running window ends, in epoch seconds; now, when there is none."""
        return self._read(key)[1]

    def _read(self, key: str) -> tuple[int, float]:
        known = select(RateWindow.hits, RateWindow.ends_at).where(
            RateWindow.key == hashed(key), RateWindow.ends_at > now()
        )
        with self._engine.connect() as connection:
            row = connection.execute(known).one_or_none()
        return (row.hits, row.ends_at.timestamp()) if row else (0, time.time())

    def check(self) -> bool:
        """Whether the table can be read."""
        try:
            self._read("")
        except DBAPIError:
            return False
        return True

    def reset(self) -> int:
        """Forget every count."""
        return self._delete(delete(RateWindow))

    def clear(self, key: str) -> None:
        """Forget one count."""
        self._delete(delete(RateWindow).where(RateWindow.key == hashed(key)))

    def _delete(self, statement: Any) -> int:
        with self._engine.connect().execution_options(**{WRITE: True}) as connection, connection.begin():
            return int(connection.execute(statement).rowcount)


def hashed(key: str) -> str:
    """A key as it is stored."""
    return blake2s(key.encode(), digest_size=16).hexdigest()


def _sweep(connection: Connection) -> None:
    """Delete some windows that ended, skipping those another worker is renewing."""
    ended = select(RateWindow.key).where(RateWindow.ends_at <= now()).limit(SWEEP_MOST)
    connection.execute(delete(RateWindow).where(RateWindow.key.in_(ended.with_for_update(skip_locked=True))))
