"""How Alembic runs here: one transaction under a lock, so that workers starting together migrate once."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

from models import gateway, identity, limits, traces
from models.base import WRITE, Base

LOCK = 7_201_914
MODELS = (gateway, identity, limits, traces)


def run() -> None:
    """Migrate over the engine the caller gave."""
    engine = context.config.attributes["engine"]
    with engine.connect() as connection:
        bound = connection.execution_options(**{WRITE: True})
        with bound.begin():
            _migrate(bound)


def _migrate(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        transactional_ddl=False,
        compare_type=False,
    )
    context.run_migrations()


run()
