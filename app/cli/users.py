"""`yardmaster users`: accounts made, listed and raised to operators beside a running server."""

from __future__ import annotations

import secrets
from typing import Any

import click
import orjson
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from sqlalchemy import select

from app.cli.database import opened
from app.cli.keys import Span
from app.problems import not_found
from app.security import passwords
from app.services import joining, people
from app.services.people import NewPerson
from app.services.revisions import bump
from models.base import now, session
from models.identity import User
from models.views.account import JobUserView

Json = dict[str, Any]
SHORTEST, LONGEST = 8, 128

as_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")


@click.group()
def users() -> None:
    """Make accounts, list them, and make operators of them."""


@users.command()
@click.argument("email")
@click.option("--password", default=None, help="What they sign in with [default: made, and shown this once].")
@click.option("--name", default="", help="What to call them [default: what stands before the @].")
@click.option("--admin", is_flag=True, help="They operate this server.")
@click.option("--verified", is_flag=True, help="Their address needs no proof.")
@as_json
@click.pass_context
def create(ctx: click.Context, /, *, email: str, password: str | None, as_json: bool, **asked: Any) -> None:
    """Make an account that signs in with a password."""
    _refuse_unfit(email, password)
    made = password or secrets.token_urlsafe(16)
    person = NewPerson(email, asked["name"], passwords.hashed(made), asked["verified"], asked["admin"])
    with opened(ctx):
        shown = _shown(people.add(person)) | ({} if password else {"password": made})
    if as_json:
        click.echo(orjson.dumps(shown))
        return
    click.echo(f"user {shown['id']} ({shown['email']}) is made" + ("" if password else "; the password:"), err=True)
    click.echo(shown["uid"] if password else made)


@users.command()
@click.argument("email")
@as_json
@click.pass_context
def promote(ctx: click.Context, /, *, email: str, as_json: bool) -> None:
    """Let somebody operate this server, from their next request on."""
    with opened(ctx):
        user = people.find(email)
        if user is None:
            raise not_found(f"User {email}")
        user.is_admin = True
        bump()
        shown = _shown(user)
    click.echo(orjson.dumps(shown) if as_json else f"{shown['email']} operates this server now")


@users.command("list")
@as_json
@click.pass_context
def list_(ctx: click.Context, /, *, as_json: bool) -> None:
    """List the accounts, oldest first."""
    with opened(ctx, write=False):
        rows = [_shown(user) for user in session().scalars(select(User).order_by(User.id))]
    if as_json:
        click.echo(orjson.dumps({"users": rows}, option=orjson.OPT_INDENT_2))
    else:
        Console().print(_table(rows), highlight=False)


@users.command()
@click.option("--uses", default=1, type=click.IntRange(1, 100_000), help="How many may sign up with it [default: 1].")
@click.option("--expires-in", type=Span(), default=None, help="When it ends, from now [default: never].")
@click.option("--note", default="", help="Whom it is for.")
@as_json
@click.pass_context
def invite(ctx: click.Context, /, *, uses: int, as_json: bool, note: str, **asked: Any) -> None:
    """Make a code that somebody may sign up with. It goes to standard output, this once."""
    expires_at = now() + asked["expires_in"] if asked["expires_in"] else None
    with opened(ctx) as held:
        issued = joining.issue_code(uses, expires_at, note[:200], held)
    shown = {"code": issued.code, "max_uses": uses, "expires_at": expires_at}
    click.echo(orjson.dumps(shown) if as_json else issued.code)


def _refuse_unfit(email: str, password: str | None) -> None:
    local, at, host = email.strip().rpartition("@")
    if not (local and at and host) or len(email) > 254 or not email.strip().isprintable() or " " in email.strip():  # noqa: PLR2004
        raise click.BadParameter(f"{email!r} is no address", param_hint="EMAIL")
    if password is not None and not SHORTEST <= len(password) <= LONGEST:
        raise click.BadParameter(f"a password has {SHORTEST} to {LONGEST} characters", param_hint="--password")


def _shown(user: User) -> Json:
    shown: Json = JobUserView().dump(user)
    return shown | {"uid": user.uid, "name": user.name}


def _table(rows: list[Json]) -> Table:
    table = Table(Column("id", justify="right"), "email", "name", "role", "verified", "last login", box=SIMPLE)
    for row in rows:
        told = (row["email"], row["name"], row["role"], "yes" if row["email_verified"] else "no")
        table.add_row(str(row["id"]), *(escape(text) for text in told), row.get("last_login_at", "-"))
    return table
