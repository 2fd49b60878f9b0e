"""`yardmaster worker`: carries tasks out without serving requests, beside servers of the same database."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
from pathlib import Path

import click

from app import settings as configuration
from app.observe import logs
from app.services.bootstrap import open_up

log = logging.getLogger("yardmaster.worker")


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path), default=None, help="The data directory [default: ./.yardmaster]."
)
@click.pass_context
def worker(ctx: click.Context, data: Path | None) -> None:
    """Carry out tasks until told to end; serves nothing. Servers with YARDMASTER_ENGINE=off leave all of them to it."""
    settings = configuration.load(data=data or ctx.obj["data"])
    logs.configure(settings)
    for sentence in configuration.misspelt():
        log.warning(sentence)
    open_up(settings)
    asyncio.run(_work(dataclasses.replace(settings, engine="on", workers=1)))


async def _work(settings: configuration.Settings) -> None:
    from app.factory import create  # noqa: PLC0415 (after the data directory was found fit)
    from app.spec.cache import cached_bundle  # noqa: PLC0415

    application = create(settings, cached_bundle(settings.data))
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    await application.start()
    log.info("the worker is ready: executor %s", application.runtime.tasks.executor)
    await ending.wait()
    await application.stop()
