"""`yardmaster mail`: the outbox, for who operates a server without a mail server, or looks for a mail."""

from __future__ import annotations

from typing import Any

import click
import orjson

from app.cli.database import opened
from app.services.mail import outbox
from models.base import session
from models.mail import Mail
from models.views.fields import rfc3339

Json = dict[str, Any]


@click.command()
@click.option("--to", "recipient", default=None, metavar="EMAIL", help="Only mails to this address.")
@click.option("--limit", default=20, type=click.IntRange(1, 10_000), help="How many, newest first [default: 20].")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@click.pass_context
def mail(ctx: click.Context, /, *, recipient: str | None, limit: int, as_json: bool) -> None:
    """Show the mails the server wrote, newest first: sent ones, waiting ones, and those kept for want of a server."""
    with opened(ctx, write=False):
        rows = [_row(found) for found in session().scalars(outbox(recipient).limit(limit))]
    if as_json:
        click.echo(orjson.dumps({"mails": rows}, option=orjson.OPT_INDENT_2))
        return
    for row in rows:
        click.echo(f"{row['created_at']}  {row['status']}  to {row['to']}  {row['subject']}\n\n{row['body']}")
    if not rows:
        click.echo("no mail", err=True)


def _row(found: Mail) -> Json:
    shown: Json = {"id": found.id, "to": found.recipient, "subject": found.subject, "kind": found.kind}
    sent = {"sent_at": rfc3339(found.sent_at)} if found.sent_at else {}
    failed = {"error": found.error} if found.error else {}
    shown |= {"status": found.status, "tries": found.tries, "created_at": rfc3339(found.created_at)}
    return shown | sent | failed | {"body": found.body}
