"""Applies migrations with Alembic."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Engine

from models.migrations import HERE, MigrationError


def configured(engine: Engine | None = None) -> Config:
    """Alembic's configuration, without a file to keep."""
    config = Config()
    config.set_main_option("script_location", str(HERE))
    config.attributes["engine"] = engine
    return config


def apply(engine: Engine) -> None:
    """Apply all that are not applied yet."""
    try:
        command.upgrade(configured(engine), "head")
    except CommandError as error:
        raise MigrationError(f"the database was made by another version of this server ({error})") from None
