"""Databases for tests: one migrated template per server, copied for each test in milliseconds."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import URL, Engine, create_engine, make_url, text

from app.security.secrets import load_or_create
from app.services.bootstrap import ADMIN_FILE, FirstKeys, prepare
from app.settings import Settings
from models.base import connect

if TYPE_CHECKING:
    from support.shelf import Shelf

BACKENDS = ("sqlite", "postgresql")
POSTGRES = "YARDMASTER_TEST_POSTGRES_URL"


@dataclass(frozen=True, slots=True)
class Template:
    """A prepared data directory and, on PostgreSQL, a prepared database; `keys` were made with them."""

    data: Path
    keys: FirstKeys
    shelf: Shelf | None = None

    @contextmanager
    def copy(self, data: Path) -> Iterator[str]:
        """A copy in `data`, gone afterwards; yields the database URL (empty: SQLite in `data`)."""
        shutil.copytree(self.data, data)
        if self.shelf is None:
            yield ""
            return
        with self.shelf.lent() as url:
            yield url.render_as_string(hide_password=False)


@contextmanager
def template_of(backend: str, folder: Path) -> Iterator[Template]:
    """The template of a backend; skips when no PostgreSQL server was named."""
    data = folder / "template"
    if backend == "sqlite":
        yield Template(data, _prepare(Settings(data=data)))
        return
    if not os.environ.get(POSTGRES):
        pytest.skip(f"{POSTGRES} names no server, e.g. postgresql+psycopg://postgres@127.0.0.1/postgres")
    with empty_database() as url:
        keys = _prepare(Settings(data=data, database_url=url.render_as_string(hide_password=False)))
        shelf = import_module("support.shelf").Shelf(url, maintain)  # psycopg may not be installed
        yield Template(data, keys, shelf)
        shelf.close()


@contextmanager
def empty_database() -> Iterator[URL]:
    """A new, empty PostgreSQL database of this process, dropped afterwards."""
    url = make_url(os.environ[POSTGRES]).set(database=f"yardmaster_test_{uuid.uuid4().hex[:12]}")
    maintain(url, f'CREATE DATABASE "{url.database}"')
    try:
        yield url
    finally:
        maintain(url, f'DROP DATABASE IF EXISTS "{url.database}" WITH (FORCE)')


def lose(engine: Engine) -> None:
    """Take the database away from under a running application, as an outage would."""
    engine.dispose()
    if engine.dialect.name == "postgresql":
        maintain(engine.url, f'DROP DATABASE "{engine.url.database}" WITH (FORCE)')
        return
    file = Path(str(engine.url.database))
    for left in file.parent.glob(f"{file.name}*"):
        left.unlink()
    file.mkdir()


def maintain(url: URL, statement: str) -> None:
    """Run one statement of database maintenance, which PostgreSQL takes outside a transaction only."""
    engine = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def _prepare(settings: Settings) -> FirstKeys:
    secrets = load_or_create(settings.data)
    engine = connect(settings.database)
    keys = prepare(settings, engine, secrets)
    engine.dispose()
    assert keys.admin == (settings.data / ADMIN_FILE).read_text().strip()
    return keys
