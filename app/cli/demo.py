"""`yardmaster demo`: a throw-away server, real requests over HTTP, and what the server recorded of them."""

from __future__ import annotations

import signal
import time
from typing import Any, NoReturn

import click
import orjson
import requests
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from app.cli import demo_views
from app.cli.demo_server import DemoError, Running, running
from app.cli.demo_steps import STEPS, Visitor

STORED_WITHIN_S = 15
POLL_S = 0.05


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@click.option("--keep", is_flag=True, help="Leave the server running until Ctrl-C.")
@click.option("--port", type=click.IntRange(1, 65535), help="The port to listen on [default: a free one].")
def demo(*, as_json: bool, keep: bool, port: int | None) -> None:
    """Start a throw-away server, send it real requests and show what it recorded.

    No model provider is called and nothing is left behind: the answers come from the built-in sandbox.
    """
    signal.signal(signal.SIGTERM, _end)
    console = Console(stderr=as_json, highlight=False)
    try:
        with console.status("starting a server ...") as status, running(port) as server:
            status.stop()
            shown = _play(server, console)
            click.echo(orjson.dumps(shown, option=orjson.OPT_INDENT_2)) if as_json else demo_views.show(console, shown)
            if keep:
                demo_views.invite(console, server)
                _wait(server)
    except (DemoError, requests.RequestException) as error:
        raise click.ClickException(str(error)) from None
    if not as_json:
        demo_views.part(console)


def _play(server: Running, console: Console) -> dict[str, Any]:
    """Every step in order, then what the server says of them."""
    began = time.perf_counter()
    visitor = Visitor(server.base_url, server.admin_key)
    columns = (SpinnerColumn(), TextColumn("{task.description:<38}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(STEPS) + 1)
        for step in STEPS:
            progress.update(task, description=step.name)
            visitor.take(step)
            progress.advance(task)
        progress.update(task, description="reading the traces and the costs")
        traces = _stored(visitor)
        progress.advance(task)
    return {
        "base_url": server.base_url,
        "seconds": round(time.perf_counter() - began, 3),
        "requests": visitor.taken,
        "traces": traces,
        "costs": visitor.get("/api/observe/costs"),
    }


def _stored(visitor: Visitor) -> list[dict[str, Any]]:
    """The traces, oldest first, once every model call has its own."""
    wanted = {taken["trace_id"] for taken in visitor.taken if taken["trace_id"]}
    deadline = time.monotonic() + STORED_WITHIN_S
    while time.monotonic() < deadline:
        traces: list[dict[str, Any]] = visitor.get("/api/observe/traces", limit=100)["traces"]
        if wanted <= {trace["id"] for trace in traces}:
            return traces[::-1]
        time.sleep(POLL_S)
    raise DemoError(f"the server did not record every call within {STORED_WITHIN_S} s")


def _wait(server: Running) -> None:
    """Until Ctrl-C, or until the server ends by itself."""
    try:
        code = server.process.wait()
    except KeyboardInterrupt:
        return
    raise DemoError(f"the server ended by itself (exit code {code}): {server.last_words()}")


def _end(*_: object) -> NoReturn:
    """SIGTERM ends the demo as Ctrl-C does: with its server stopped and its directory removed."""
    raise KeyboardInterrupt
