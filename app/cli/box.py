"""`yardmaster box`: what a box runs to take jobs from a server."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from shlex import split
from typing import Any

import click
import orjson

from app.agent import identity
from app.agent.agent import Agent
from app.agent.runner import Habits

KEY_FILE = Path("~/.config/yardmaster/box.json")
FOLDER = Path("~/.cache/yardmaster/jobs")
ARTIFACTS = "artifacts/**/*"


@click.group()
def box() -> None:
    """Work as a box of the fleet."""


@box.command()
@click.option("--url", default="", metavar="URL", help="The server; remembered with the key.")
@click.option("--token", default="", metavar="TOKEN", help="Enrol with the token of the box's setup first.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    default=KEY_FILE,
    help=f"Where the key is kept [default: {KEY_FILE}].",
)
@click.option("--folder", type=click.Path(path_type=Path), default=FOLDER, help=f"Where jobs run [default: {FOLDER}].")
@click.option("--program", default="", help="What every command is an argument of, such as lager [default: nothing].")
@click.option(
    "--artifacts",
    multiple=True,
    default=(ARTIFACTS,),
    metavar="GLOB",
    help=f"Files to send back [default: {ARTIFACTS}].",
)
@click.option("--once", is_flag=True, help="Run one job and end.")
@click.option("--json", "as_json", is_flag=True, help="Say what happens as lines of JSON.")
def run(*, url: str, token: str, key_file: Path, once: bool, as_json: bool, **habits: Any) -> None:
    """Take jobs from a server and run them, one at a time, until stopped."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    how = Habits(habits["folder"].expanduser(), tuple(split(habits["program"])), habits["artifacts"])
    tell = _in_json if as_json else _in_words
    try:
        who = _identity(url.rstrip("/"), token, key_file.expanduser())
        tell("ready", url=who.url)
        Agent(who, how, stop, tell).live(once=once)
    except identity.AgentError as error:
        raise click.ClickException(str(error)) from None


def _identity(url: str, token: str, key_file: Path) -> identity.Identity:
    if not token:
        return identity.load(key_file, url)
    if not url:
        raise click.UsageError("--token needs --url")
    return identity.enrol(url, token, key_file)


def _in_json(event: str, **told: Any) -> None:
    click.echo(orjson.dumps({"event": event, **told}))


def _in_words(event: str, **told: Any) -> None:
    click.echo(f"{event.replace('_', ' ')}: " + ", ".join(f"{name} {value}" for name, value in told.items()))
