"""The declarative base, the moment type, and the session a request works in."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Dialect, Engine, Integer, MetaData, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.types import TypeDecorator

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
BUSY_TIMEOUT_S = 30.0
# A database behind a dead route would otherwise be waited for as long as TCP does, two minutes.
CONNECT_TIMEOUT_S = 10
WRITE = "yardmaster_write"
# Set in a session's `info` by a transaction that other workers must notice.
REVISED = "revised"


def now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def new_uid() -> str:
    """A random UUID (RFC 9562 §5.4), in lower case."""
    return str(uuid.uuid4())


def micros(moment: datetime) -> int:
    """Microseconds since the epoch, exactly."""
    return (moment - EPOCH) // MICROSECOND


class Moment(TypeDecorator[datetime]):
    """An aware UTC datetime stored as integer microseconds: sortable and alike on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Microseconds of an aware datetime."""
        return None if value is None else micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """An aware datetime in UTC."""
        return None if value is None else EPOCH + timedelta(microseconds=value)


# SQLite only numbers rows by itself in a column declared INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """Every table of the server."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {datetime: Moment, int: BigInteger}  # noqa: RUF012 (SQLAlchemy reads it once)


_current: ContextVar[Session] = ContextVar("session")


def session() -> Session:
    """The session of the transaction this code runs in."""
    return _current.get()


def connect(url: str, *, pool_size: int = 20) -> Engine:
    """An engine for the URL; on SQLite with WAL, foreign keys, and transactions that begin when we say."""
    if not url.startswith("sqlite"):
        options = {"connect_timeout": CONNECT_TIMEOUT_S}
        return create_engine(url, pool_size=pool_size, max_overflow=pool_size, pool_pre_ping=True, connect_args=options)
    engine = create_engine(url, pool_size=pool_size, max_overflow=pool_size, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _record: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "cache_size=-16000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    """A writer takes the lock at once: upgrading a read transaction later fails without waiting."""
    mode = "IMMEDIATE" if connection.get_execution_options().get(WRITE) else "DEFERRED"
    connection.exec_driver_sql(f"BEGIN {mode}")


@contextmanager
def transaction(engine: Engine, *, write: bool = True) -> Iterator[Session]:
    """One transaction, committed at the end or rolled back whole; `session()` is its session inside."""
    with engine.connect() as connection:
        bound = connection.execution_options(**{WRITE: write})
        with Session(bound, expire_on_commit=False) as opened:
            token = _current.set(opened)
            try:
                yield opened
                opened.commit()
            finally:
                _current.reset(token)
