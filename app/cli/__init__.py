"""The `yardmaster` command: a thin group; each subcommand lives in its own module and loads only when asked for."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import click

COMMANDS = {
    "serve": "Run the server.",
    "demo": "Start a throw-away server, send it real requests and show what it recorded.",
    "migrate": "Bring the database to the newest schema.",
    "keys": "Make, list and revoke API keys.",
    "users": "Make accounts, list them, and make operators of them.",
    "mail": "Show the mails the server wrote.",
    "prices": "Show and import model prices.",
    "spec": "Work on the OpenAPI document.",
}


class LazyGroup(click.Group):
    """Imports a subcommand's module when it is used, so that `--help` answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Every subcommand, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The subcommand from `app.cli.<name>`."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"app.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup)
@click.version_option(package_name="yardmaster", prog_name="yardmaster")
@click.option("--data", type=click.Path(path_type=Path), default=None, help="The data directory [default: ./.yardmaster].")
@click.pass_context
def group(ctx: click.Context, data: Path | None) -> None:
    """One self-hosted server for models, machines, jobs and tickets."""
    ctx.ensure_object(dict)
    ctx.obj["data"] = data


def main() -> None:
    """The console script: known failures are one sentence and exit code 1, never a traceback."""
    from app.security.secrets import SecretsError  # noqa: PLC0415 (keeps `--help` quick)
    from app.settings import SettingsError  # noqa: PLC0415

    try:
        group(standalone_mode=True)
    except (SettingsError, SecretsError) as error:
        click.echo(f"yardmaster: {error}", err=True)
        sys.exit(1)
