"""Where this server shares answers: in Redis when limits are shared there, else in the database."""

from __future__ import annotations

from sqlalchemy import Engine

from app.gateway.cache.database import DatabaseStore
from app.gateway.cache.store import Store
from app.settings import Settings


def store_of(engine: Engine, settings: Settings) -> Store:
    """The store that the settings name."""
    if not settings.redis_url:
        return DatabaseStore(engine)
    from app.gateway.cache.redis_store import RedisStore  # noqa: PLC0415 (Redis' client is an extra)

    return RedisStore(settings.redis_url, engine)
