"""Migrations of the database, applied in order by `yardmaster migrate` and at the start of the server.

Alembic is loaded only where there is something to apply: an up-to-date server starts without it.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from sqlalchemy import Engine, inspect, text

HERE = Path(__file__).parent


class MigrationError(Exception):
    """The database is at a revision that this code does not know."""


def upgrade(engine: Engine) -> list[str]:
    """Bring the database to the newest revision; the revisions applied. Safe to run from several processes.

    MigrationError when another version of this code made the database.
    """
    before, known = applied(engine), revisions()
    if before == known[-1]:
        return []
    import_module("models.migrations.applying").apply(engine)
    return known[known.index(before) + 1 :] if before else known


def revisions() -> list[str]:
    """All revisions, oldest first: each file of `versions` begins with its own."""
    return sorted(file.name.partition("_")[0] for file in (HERE / "versions").glob("[0-9]*.py"))


def applied(engine: Engine) -> str | None:
    """The revision the database is at."""
    if not inspect(engine).has_table("alembic_version"):
        return None
    with engine.connect() as connection:
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def pending(engine: Engine) -> bool:
    """Whether the database is behind this code."""
    return applied(engine) != revisions()[-1]
