"""The demo's server: `yardmaster serve` as a process of its own, in a directory that is removed afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

from app.security.keys import mint

HEALTHY_WITHIN_S = 60
STOPS_WITHIN_S = 40
POLL_S = 0.05
# Nothing else is passed on: with a provider's key the demo would spend somebody's money.
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "TZ", "VIRTUAL_ENV", "PYTHONPATH", "SYSTEMROOT")


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers."""

    base_url: str
    admin_key: str = field(repr=False)
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    def last_words(self) -> str:
        """The last line the server wrote."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


@contextmanager
def running(port: int | None = None) -> Iterator[Running]:
    """A healthy server on a free port; stopped, and its data removed, however the block ends."""
    with ExitStack() as undo:
        with _uninterrupted():
            folder = undo.enter_context(TemporaryDirectory(prefix="yardmaster-demo-"))
            server = _start(port or _free_port(), Path(folder))
            undo.callback(_stop, server.process)
        _await_health(server)
        yield server


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Holds back Ctrl-C and SIGTERM until the end of the block, so that what it began can also be undone."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda n, _: came.append(n)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


def _start(port: int, folder: Path) -> Running:
    key, log = mint("admin"), folder / "server.log"
    environ = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environ |= {"YARDMASTER_ADMIN_KEY": key, "YARDMASTER_RATE_LIMITS": "off"}
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port), "--data", str(folder / "data")]
    with log.open("wb") as output:
        # Its own session: Ctrl-C is for the demo, which then stops the server in good order.
        process = subprocess.Popen(  # noqa: S603 (our own command)
            command, env=environ, cwd=folder, stdout=output, stderr=output, start_new_session=True
        )
    return Running(f"http://127.0.0.1:{port}", key, log, process)


def _await_health(server: Running) -> None:
    deadline = time.monotonic() + HEALTHY_WITHIN_S
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise DemoError(f"the server did not start: {server.last_words()}")
        with suppress(requests.ConnectionError, requests.Timeout):
            if requests.get(f"{server.base_url}/health", timeout=1).ok:
                return
        time.sleep(POLL_S)
    raise DemoError(f"the server was not healthy within {HEALTHY_WITHIN_S} s: {server.last_words()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    with _uninterrupted():
        process.terminate()
        try:
            process.wait(STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
