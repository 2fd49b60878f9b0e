"""`yardmaster serve`: prepares the data directory, says how to call it, and runs the workers."""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import click

from app import settings as configuration
from app.cli.supervisor import supervise, work
from app.observe import logs
from app.server.master import Master, fork
from app.server.worker import bind, run
from app.services.bootstrap import FIRST_USER, FirstKeys, open_up
from app.services.premises import ADMIN_FILE
from app.settings import PREFIX, Settings
from app.spec.cache import read_ahead

log = logging.getLogger("yardmaster.serve")


@click.command()
@click.option("--host", default=None, help="The address to listen on [default: 127.0.0.1].")
@click.option("--port", type=int, default=None, help="The port to listen on [default: 4200].")
@click.option(
    "--data", type=click.Path(path_type=Path), default=None, help="The data directory [default: ./.yardmaster]."
)
@click.option("--workers", type=int, default=None, help="How many worker processes [default: 1].")
@click.option("--reload", is_flag=True, help="Restart the workers when the code changes.")
@click.pass_context
def serve(ctx: click.Context, /, *, reload: bool, **options: Any) -> None:
    """Run the server."""
    options["data"] = options["data"] or ctx.obj["data"]
    settings = configuration.load(**options)
    logs.configure(settings)
    for sentence in configuration.misspelt():
        log.warning(sentence)
    _refuse_taken_port(settings)
    _hand_down(settings)
    prepare, load = lambda: _greet(settings, open_up(settings)), partial(_load, settings, reload=reload)
    sys.exit(supervise(settings, prepare, load, lambda: _run(settings, reload=reload)))


def _refuse_taken_port(settings: Settings) -> None:
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise click.ClickException(
                f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); choose another with --port"
            ) from None


def _hand_down(settings: Settings) -> None:
    """Workers are new processes: they read these settings from the environment."""
    for name in ("host", "port", "data", "workers"):
        os.environ[PREFIX + name.upper()] = str(getattr(settings, name))


def _load(settings: Settings, *, reload: bool) -> None:
    """Load the application once: workers are forked from this process and share what it has loaded.

    Not under --reload, where every worker must load the code as it is by then.
    """
    if not reload:
        import_module("app.factory")
        for module in walk_packages(import_module("handlers").__path__, "handlers."):
            import_module(module.name)
        read_ahead(settings.data)


def _run(settings: Settings, *, reload: bool) -> None:
    """Keep workers at it."""
    listener = bind(settings.host, settings.port)
    if reload:
        reloading = import_module("app.cli.reloading")
        reloading.watch()
        begin = partial(reloading.spawn, listener)
    else:
        gc.freeze()
        begin = partial(fork, lambda: run(work(), listener))
    Master(settings.workers, begin).run()


def _greet(settings: Settings, first: FirstKeys) -> None:
    """Say where it listens and what to send; keys are shown the one time they are made."""
    base = f"http://{'127.0.0.1' if settings.host == '0.0.0.0' else settings.host}:{settings.port}"  # noqa: S104
    name = click.style("Yardmaster", bold=True)
    click.echo(f"{name} on {base}   documentation: {base}/api/docs   data: {settings.data}")
    if first.admin:
        click.echo(f"admin key (shown once, kept in {settings.data / ADMIN_FILE}): {first.admin}")
    if first.user:
        click.echo(f"user key (shown once): {first.user}")
        click.secho("try it:", bold=True)
        click.echo(_curl(base, first.user))
    else:
        click.echo(f"another user key: yardmaster --data {settings.data} keys create --user {FIRST_USER}")


def _curl(base: str, key: str) -> str:
    body = '{"model": "sandbox", "messages": [{"role": "user", "content": "Hello"}]}'
    headers = f"-H 'Authorization: Bearer {key}' -H 'Content-Type: application/json'"
    return f"curl {base}/v1/chat/completions {headers} -d '{body}'"
