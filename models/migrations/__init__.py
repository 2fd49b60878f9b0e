"""Migrations of the database, applied in order by `yardmaster migrate` and at the start of the server."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

HERE = Path(__file__).parent


def configured(engine: Engine | None = None) -> Config:
    """Alembic's configuration, without a file to keep."""
    config = Config()
    config.set_main_option("script_location", str(HERE))
    config.attributes["engine"] = engine
    return config


def upgrade(engine: Engine) -> list[str]:
    """Bring the database to the newest revision; the revisions applied. Safe to run from several processes."""
    before = applied(engine)
    command.upgrade(configured(engine), "head")
    script = ScriptDirectory.from_config(configured())
    known = [r.revision for r in script.walk_revisions()][::-1]
    return known[known.index(before) + 1 :] if before else known


def applied(engine: Engine) -> str | None:
    """The revision the database is at."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def pending(engine: Engine) -> bool:
    """Whether the database is behind this code."""
    return applied(engine) != ScriptDirectory.from_config(configured()).get_current_head()
