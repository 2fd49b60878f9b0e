"""The database of a server that may be running, opened for one command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from app import settings as configuration
from app.problems import Problem
from app.security import secrets as held
from models import migrations
from models.base import connect, transaction


@dataclass(frozen=True, slots=True)
class Beside:
    """What a command that takes several transactions works on."""

    data: Path
    engine: Engine = field(repr=False)
    secrets: held.Secrets


@contextmanager
def beside(ctx: click.Context) -> Iterator[Beside]:
    """The server's data directory, database and secrets; refusals become a sentence and exit code 1."""
    settings = configuration.load(data=ctx.obj["data"])
    if not (settings.data / held.FILE).is_file():
        raise click.ClickException(f"there is no server in {settings.data}; name its directory: yardmaster --data DIR")
    engine = connect(settings.database)
    try:
        if migrations.pending(engine):
            raise click.ClickException("the database is not up to date; run: yardmaster migrate")
        yield Beside(settings.data, engine, held.load_or_create(settings.data))
    except Problem as problem:
        raise click.ClickException(problem.message) from None
    except OperationalError:
        raise click.ClickException("the database does not answer; is it running, and its URL right?") from None
    finally:
        engine.dispose()


@contextmanager
def opened(ctx: click.Context, *, write: bool = True) -> Iterator[held.Secrets]:
    """One transaction on the server's database, with its secrets."""
    with beside(ctx) as found, transaction(found.engine, write=write):
        yield found.secrets
