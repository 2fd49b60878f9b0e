"""The premises of a server: its data directory, kept to its owner, and its database; refused in one sentence."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from pathlib import Path

from sqlalchemy import Engine, inspect, select
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError

from app.engine.durable import FILE as ENGINE_FILE
from app.security.redact import redact
from app.security.secrets import FILE as SECRETS_FILE
from app.settings import DATABASE_FILE, Settings
from models.base import connect, transaction
from models.identity import ApiKey

log = logging.getLogger("yardmaster.premises")
ADMIN_FILE = "admin.key"
# What nobody but the owner may read. SQLite gives its journals the mode of the database.
PRIVATE = (
    SECRETS_FILE, ADMIN_FILE,
    *(file + journal for file in (DATABASE_FILE, ENGINE_FILE) for journal in ("", "-wal", "-shm")),
)  # fmt: skip
EXAMPLE = "postgresql://user:password@host/name"
OTHERS = stat.S_IRWXG | stat.S_IRWXO
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class PremisesError(Exception):
    """The server cannot start here; the message says why, and what to do."""


def claim(data: Path) -> None:
    """Make the data directory (mode 0700) and prove that it can be written; PremisesError when it cannot.

    Files of secrets that others could read are closed to them, with a warning: they may have been read.
    """
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=data):
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise PremisesError(f"cannot write to the data directory {data} ({reason}); name another with --data") from None
    if data.stat().st_mode & OTHERS_WRITE:
        log.warning("others may write to %s and replace the secrets in it; run: chmod 700 %s", data, data)
    for name in PRIVATE:
        _close(data / name)


def _close(file: Path) -> None:
    try:
        if not file.stat().st_mode & OTHERS:
            return
        file.chmod(stat.S_IRUSR | stat.S_IWUSR)
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("others may read %s, and it cannot be closed to them (%s)", file, error.strerror)
        return
    log.warning("others could read %s until now; if they are strangers, replace the keys in it", file)


def open_database(settings: Settings) -> Engine:
    """An engine whose database has answered; PremisesError, without a password in it, when it does not."""
    if not settings.database_url:
        os.close(os.open(settings.data / DATABASE_FILE, os.O_RDWR | os.O_CREAT, 0o600))
    try:
        engine = connect(settings.database)
    except (ArgumentError, ValueError):
        raise PremisesError(f"YARDMASTER_DATABASE_URL is no database URL; write {EXAMPLE}") from None
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise PremisesError(
            f"YARDMASTER_DATABASE_URL names a database that cannot be spoken to ({error}); "
            "use postgresql:// and pip install 'yardmaster[postgres]'"
        ) from None
    try:
        engine.connect().close()
    except DatabaseError as error:
        engine.dispose()
        raise unusable(engine, error) from None
    return engine


def unusable(engine: Engine, error: DatabaseError) -> PremisesError:
    """What the driver said, in a sentence; SQLAlchemy's own words add a link and, at worst, the statement."""
    said = redact(str(error.orig).strip().partition("\n")[0])
    return PremisesError(f"the database {engine.url.render_as_string(hide_password=True)} cannot be used: {said}")


def refuse_lost_secrets(data: Path, engine: Engine) -> None:
    """PremisesError when the database holds keys but the secrets they were made with are gone.

    New secrets would be made, and every key and every sealed provider key would silently stop working.
    """
    if (data / SECRETS_FILE).exists() or not inspect(engine).has_table(ApiKey.__tablename__):
        return
    with transaction(engine, write=False) as opened:
        if opened.scalar(select(ApiKey.id).limit(1)) is not None:
            raise PremisesError(f"the database holds keys, but {data / SECRETS_FILE} is gone; restore it from a backup")
