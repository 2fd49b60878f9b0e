"""How Alembic runs here: one transaction under a lock, so that workers starting together migrate once."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

from models import (
    answers,
    approvals,
    audit,
    box_jobs,
    boxes,
    chat,
    cron,
    desk,
    engine,
    gateway,
    guardrails,
    idempotency,
    identity,
    limits,
    mail,
    observing,
    orgs,
    relays,
    row_jobs,
    sessions,
    traces,
    training,
    trust,
    webhooks,
    wiping,
)
from models.base import WRITE, Base

LOCK = 7_201_914
MODELS = (
    answers,
    approvals,
    audit,
    box_jobs,
    boxes,
    chat,
    cron,
    desk,
    engine,
    gateway,
    guardrails,
    idempotency,
    identity,
    limits,
    mail,
    observing,
    orgs,
    relays,
    row_jobs,
    sessions,
    traces,
    training,
    trust,
    webhooks,
    wiping,
)


def run() -> None:
    """Migrate over the engine the caller gave."""
    opened = context.config.attributes["engine"]
    with opened.connect() as connection:
        bound = connection.execution_options(**{WRITE: True})
        _enforce_foreign_keys(bound, "OFF")
        try:
            with bound.begin():
                _migrate(bound)
        finally:
            _enforce_foreign_keys(bound, "ON")


def _enforce_foreign_keys(connection: Connection, state: str) -> None:
    """SQLite rebuilds a table to alter it; with foreign keys on, dropping the old one deletes what refers to it."""
    raw = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite" and raw is not None:
        raw.execute(f"PRAGMA foreign_keys={state}")


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
