"""`yardmaster keys`: API keys made, listed and revoked, and secrets rotated, beside a running server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import click
import orjson
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from app.cli.database import opened
from app.cli.rotate import rotate_pepper, rotate_sealing
from app.security import secrets as held
from app.services import accounts
from app.services.bootstrap import FIRST_USER
from models.base import now, session
from models.identity import ApiKey
from models.views.auth import ApiKeyView

Json = dict[str, Any]
SPAN = re.compile(r"([1-9][0-9]{0,6})([smhdw])")
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
LONGEST = timedelta(days=36_500)
NAME = "cli"


@dataclass(frozen=True, slots=True)
class Span(click.ParamType[timedelta]):
    """A length of time such as `30d`, `12h`, `90m` or `2w`."""

    name: str = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The span, at most a hundred years."""
        found = SPAN.fullmatch(str(value))
        span = timedelta(seconds=int(found[1]) * SECONDS[found[2]]) if found else timedelta()
        if not timedelta() < span <= LONGEST:
            self.fail(f"{value!r} is no length of time; write 90m, 12h, 30d or 2w, at most 36500d", param, ctx)
        return span


as_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
of_user = click.option("--user", "email", default=None, metavar="EMAIL", help="The user the key belongs to.")


@click.group()
def keys() -> None:
    """Make, list and revoke API keys; rotate the server's own secrets."""


keys.add_command(rotate_pepper)
keys.add_command(rotate_sealing)


@keys.command()
@of_user
@click.option("--admin", is_flag=True, help="A key that operates this server and belongs to no user.")
@click.option("--name", default=None, help=f"What to call it [default: {NAME}, or {NAME}-2, ...].")
@click.option("--expires-in", type=Span(), default=None, help="When it stops working, from now [default: never].")
@as_json
@click.pass_context
def create(ctx: click.Context, /, *, email: str | None, admin: bool, as_json: bool, **asked: Any) -> None:
    """Make a key. It goes to standard output, this once; what it is for goes to standard error.

    Without --user it belongs to the first user, operator@localhost.
    """
    if admin and email:
        raise click.UsageError("an admin key belongs to no user; leave out --user or --admin")
    if asked["name"] is not None and not 1 <= len(asked["name"]) <= accounts.NAME_LENGTH:
        raise click.BadParameter(f"a name has 1 to {accounts.NAME_LENGTH} characters", param_hint="--name")
    with opened(ctx) as secrets:
        issued = _make(None if admin else email or FIRST_USER, secrets, **asked)
        shown = _row(issued.row) | {"key": issued.key}
    if as_json:
        click.echo(orjson.dumps(shown))
        return
    until = f", until {shown['expires_at']}" if "expires_at" in shown else ""
    click.echo(f"key {shown['id']} ({shown['name']}) of {shown['user']}{until}; it is shown this once:", err=True)
    click.echo(issued.key)


@keys.command("list")
@of_user
@as_json
@click.pass_context
def list_(ctx: click.Context, /, *, email: str | None, as_json: bool) -> None:
    """List the keys that are not revoked."""
    with opened(ctx, write=False):
        user_id = accounts.user_of(email).id if email else None
        rows = [_row(row) for row in session().scalars(accounts.find_keys(user_id))]
    if as_json:
        click.echo(orjson.dumps({"keys": rows}, option=orjson.OPT_INDENT_2))
    else:
        Console().print(_table(rows), highlight=False)


@keys.command()
@click.argument("key_id", metavar="ID", type=click.IntRange(min=1, max=2**53))
@as_json
@click.pass_context
def revoke(ctx: click.Context, /, key_id: int, *, as_json: bool) -> None:
    """End the key with this number for good; `yardmaster keys list` shows the numbers."""
    with opened(ctx):
        accounts.end_key(key_id)
    click.echo(orjson.dumps({"status": "revoked", "id": key_id}) if as_json else f"key {key_id} is revoked")


def _make(email: str | None, secrets: held.Secrets, name: str | None, expires_in: timedelta | None) -> accounts.Issued:
    """A key of the user with this address, or an operator's without one."""
    expires_at: datetime | None = now() + expires_in if expires_in else None
    user_id = accounts.user_of(email).id if email else None
    name = name or accounts.free_name(NAME, user_id)
    if user_id is None:
        return accounts.add_admin_key(name, expires_at, secrets)
    return accounts.add_key(user_id, accounts.Terms(name, expires_at=expires_at), secrets)


def _row(key: ApiKey) -> Json:
    shown: Json = ApiKeyView().dump(key)
    return shown | {"role": key.role, "user": key.user.email if key.user else "the operator"}


def _table(rows: list[Json]) -> Table:
    folded = (Column(name, overflow="fold") for name in ("name", "user", "key", "expires", "last used"))
    table = Table(Column("id", justify="right"), *folded, box=SIMPLE)
    for row in rows:
        told = (row["name"], row["user"], row["key_prefix"], row.get("expires_at", "-"), row.get("last_used", "-"))
        table.add_row(str(row["id"]), *(escape(text) for text in told))
    return table
