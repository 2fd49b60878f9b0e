"""`yardmaster serve`: prepares the data directory, says how to call it, and runs the workers."""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from granian.constants import HTTPModes, Interfaces, Loops, RuntimeModes
from granian.http import HTTP1Settings
from granian.server import MPServer

from app import settings as configuration
from app.cli.supervisor import supervise
from app.observe import logs
from app.services.bootstrap import FIRST_USER, FirstKeys, open_up
from app.services.premises import ADMIN_FILE
from app.settings import PREFIX, Settings

log = logging.getLogger("yardmaster.serve")
DRAIN_S = 30


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
    _greet(settings, open_up(settings))
    _hand_down(settings)
    sys.exit(supervise(settings, lambda: _run(settings, reload=reload)))


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


def _run(settings: Settings, *, reload: bool) -> None:
    """Load the application once: workers are forked from this process and share what it has loaded.

    Not under --reload, where every worker must load the code as it is by then.
    """
    if not reload:
        import_module("app.factory")
        gc.freeze()
    _server(settings, reload=reload).serve()


def _server(settings: Settings, *, reload: bool) -> MPServer:
    return MPServer(
        "app.cli.supervisor:work",
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        workers=settings.workers,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        runtime_mode=RuntimeModes.st,
        http1_settings=HTTP1Settings(keep_alive=True, pipeline_flush=False),
        websockets=False,
        workers_kill_timeout=DRAIN_S,
        respawn_failed_workers=True,
        reload=reload,
        **logs.granian(settings),
    )


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
