"""`yardmaster migrate`: applies pending migrations, and says which."""

from __future__ import annotations

import click

from app import settings as configuration
from app.services.system import release
from models import migrations
from models.base import connect


@click.command()
@click.option("--check", is_flag=True, help="Only tell whether migrations are pending (exit code 1 when they are).")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@click.pass_context
def migrate(ctx: click.Context, check: bool, as_json: bool) -> None:
    """Bring the database to the newest schema."""
    settings = configuration.load(data=ctx.obj["data"])
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = connect(settings.database)
    if check:
        behind = migrations.pending(engine)
        click.echo(f'{{"pending": {str(behind).lower()}}}' if as_json else "pending" if behind else "up to date")
        ctx.exit(1 if behind else 0)
    done = migrations.upgrade(engine)
    listed = ", ".join(done) or "nothing"
    click.echo(f'{{"applied": {list(done)!r}}}'.replace("'", '"') if as_json else f"applied {listed} ({release()})")
