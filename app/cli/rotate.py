"""`yardmaster keys rotate-pepper` and `rotate-sealing`: new secrets for a server that goes on serving."""

from __future__ import annotations

import time

import click
import orjson

from app.cli.database import Beside, beside
from app.security import rotation
from app.services import resealing
from app.services.revisions import bump
from models.base import transaction

# Workers look four times a second whether something changed; twice that, and some for a slow machine.
ADOPTED_WITHIN_S = 1.5

as_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")


@click.command("rotate-pepper")
@as_json
@click.pass_context
def rotate_pepper(ctx: click.Context, /, *, as_json: bool) -> None:
    """Fingerprint credentials under a new pepper. Every key, session and token goes on working.

    Each moves over to the new pepper when it is next used; the old peppers stay for those that are not.
    """
    with beside(ctx) as server:
        rotation.rotate_pepper(server.data, lambda: _announce(server))
        server.secrets.refresh()
        accepted = len(server.secrets.peppers)
    told = f"a new pepper is in force; {accepted} are accepted"
    click.echo(orjson.dumps({"status": "rotated", "accepted": accepted}) if as_json else told)


@click.command("rotate-sealing")
@as_json
@click.pass_context
def rotate_sealing(ctx: click.Context, /, *, as_json: bool) -> None:
    """Seal stored secrets under a new key, those that are stored already too.

    Broken off, it can be run again: what is sealed under an older key can be opened all along.
    """
    with beside(ctx) as server:
        kid = rotation.rotate_sealing(server.data, lambda: _announce(server))
        server.secrets.refresh()
        outcome = resealing.reseal(server.engine, server.secrets, _progress)
    if as_json:
        counted = {"resealed": outcome.resealed, "failed": outcome.failed}
        click.echo(orjson.dumps({"status": "rotated", "key": kid} | counted))
    else:
        click.echo(f"key {kid} is in force; {outcome.resealed} secrets sealed anew, {outcome.failed} cannot be opened")
    ctx.exit(1 if outcome.failed else 0)


def _announce(server: Beside) -> None:
    with transaction(server.engine):
        bump()
    time.sleep(ADOPTED_WITHIN_S)


def _progress(done: int, total: int) -> None:
    click.echo(f"sealed anew: {done} of {total}", err=True)
