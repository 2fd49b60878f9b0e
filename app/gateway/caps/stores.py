"""Where this server reserves money: in Redis when limits are shared there, else in the database."""

from __future__ import annotations

from sqlalchemy import Engine

from app.gateway.caps.database import DatabaseStore
from app.gateway.caps.desk import Caps
from app.settings import Settings

IN_STEP_S = 1.0


def caps_of(engine: Engine, settings: Settings) -> Caps:
    """The desk before the store that the settings name."""
    if not settings.redis_url:
        return Caps(engine, DatabaseStore(engine))
    from app.gateway.caps.redis_store import RedisStore  # noqa: PLC0415 (Redis' client is an extra)

    return Caps(engine, RedisStore(settings.redis_url, engine), IN_STEP_S)
