"""The `yardmaster` command: a thin group; each subcommand lives in its own module and loads only when asked for."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from pathlib import Path

import click

COMMANDS = {
    "serve": "Run the server.",
    "worker": "Carry out tasks without serving requests.",
    "demo": "Start a throw-away server, send it real requests and show what it recorded.",
    "migrate": "Bring the database to the newest schema.",
    "keys": "Make, list and revoke API keys.",
    "users": "Make accounts, list them, and make operators of them.",
    "mail": "Show the mails the server wrote.",
    "box": "Work as a box of the fleet.",
    "prices": "Show and import model prices.",
    "spend": "Prove that what counts against budgets is what was spent.",
    "spec": "Work on the OpenAPI document.",
}


# Python's 700 has the collector look at what lives for long again and again, to find nothing.
GC_THRESHOLD = 20_000
# By name, so that `--help` need not import them.
REFUSALS = frozenset(
    {
        "app.settings.SettingsError",
        "app.security.secrets.SecretsError",
        "app.services.premises.PremisesError",
        "models.migrations.MigrationError",
        "app.spec.operations.SpecError",
        "app.gateway.prices.importer.PriceFileError",
    }
)


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
        if cmd_name != "serve":  # whose processes load more, and collect once they have
            gc.enable()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup)
@click.version_option(package_name="yardmaster", prog_name="yardmaster")
@click.option("--data", type=click.Path(path_type=Path), help="The data directory [default: ./.yardmaster].")
@click.pass_context
def group(ctx: click.Context, data: Path | None) -> None:
    """One self-hosted server for models, machines, jobs and tickets."""
    ctx.ensure_object(dict)
    ctx.obj["data"] = data


def main() -> None:
    """The console script: known failures are one sentence and exit code 1, never a traceback."""
    os.umask(0o077)  # what the server writes is its owner's alone
    gc.set_threshold(GC_THRESHOLD)
    gc.disable()  # while modules load there is nothing to find, and looking takes a third of the start
    try:
        group(standalone_mode=True)
    except Exception as error:
        if not is_refusal(error):
            raise
        click.echo(f"yardmaster: {error}", err=True)
        sys.exit(1)


def is_refusal(error: BaseException) -> bool:
    """Whether an exception is one of the known reasons not to start, whose message is a sentence for the operator."""
    return f"{type(error).__module__}.{type(error).__qualname__}" in REFUSALS
