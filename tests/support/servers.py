"""The real server as a process: started by its command, found by its port, stopped by SIGTERM."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from support import preloaded
from support.deaths import children
from support.preloaded import Process

COMMAND = Path(sys.executable).with_name("yardmaster")
STARTS_WITHIN_S = 30
STOPS_WITHIN_S = 40
USER_KEY = re.compile(r"^user key \(shown once\): (sy_\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. `admin_key` and `user_key` are its first keys; `user_key` is empty on data used before."""

    base_url: str
    port: int
    pid: int
    data: Path
    log: Path
    process: Process | subprocess.Popen[bytes] = field(repr=False)

    @property
    def admin_key(self) -> str:
        """The operator's key."""
        return (self.data / "admin.key").read_text().strip()

    @property
    def user_key(self) -> str:
        """The first user's key."""
        found = USER_KEY.search(self.log.read_text())
        return found.group(1) if found else ""

    def request(self, method: str, path: str, key: str = "", **options: Any) -> requests.Response:
        """One request, with a key when one is given."""
        headers = dict(options.pop("headers", None) or {}) | ({"Authorization": f"Bearer {key}"} if key else {})
        return requests.request(method, self.base_url + path, headers=headers, timeout=30, **options)

    def stop(self) -> int:
        """SIGTERM, and the exit code; a server that does not stop in time is killed and fails the test."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server ignored SIGTERM; its log:\n{self.log.read_text()}") from None

    def kill(self) -> None:
        """SIGKILL to it and all it started, as a crash would, the worker that is being forked at this moment too.

        Held first: its end alone would tell the others to finish in good order.
        """
        self.process.send_signal(signal.SIGSTOP)
        groups = children(self.pid)
        for master in groups:
            with suppress(ProcessLookupError):
                os.killpg(master, signal.SIGKILL)
        self.process.kill()
        self.process.wait(STOPS_WITHIN_S)
        while not is_free(self.port):  # the kernel closes what they held
            time.sleep(0.005)


def _family(pid: int) -> list[int]:
    """A process and, after it, everything it started."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    started = [int(child) for child in path.read_text().split()] if path.exists() else []
    return [pid, *(member for child in started for member in _family(child))]


@contextmanager
def running(folder: Path) -> Iterator[Callable[..., Server]]:
    """Yields a function that starts servers; all of them are stopped at the end.

    It takes settings, and `variables`: others of the environment, such as a provider's key. `preloaded=False` starts
    the command itself.
    """
    started: list[Server] = []

    def start(**settings: Any) -> Server:
        data = Path(settings.pop("data", folder / f"server{len(started)}"))
        variables, begin = settings.pop("variables", {}), _fork if settings.pop("preloaded", True) else _execute
        log, port = folder / f"server{len(started)}.log", free_port()
        arguments = ["serve", "--port", str(port), "--data", str(data)]
        process = begin(arguments, environment(**settings) | variables, log)
        server = Server(f"http://127.0.0.1:{port}", port, process.pid, data, log, process)
        started.append(server)
        _await_health(server)
        return server

    try:
        yield start
    finally:
        for server in started:
            server.stop()


def free_port() -> int:
    """A port nobody listens on, below those that the system gives to callers: none of them can take it in between."""
    for port in random.SystemRandom().sample(range(12_000, 32_000), 100):
        if is_free(port):
            return port
    raise AssertionError("no port is free")


def is_free(port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False


def environment(**settings: Any) -> dict[str, str]:
    """This process's environment without any Yardmaster setting or provider, plus these settings."""
    plain = {k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV"}}
    return plain | {f"YARDMASTER_{name.upper()}": str(value) for name, value in settings.items()}


def _fork(arguments: list[str], variables: dict[str, str], log: Path) -> Process:
    with log.open("wb") as output:
        return preloaded.start(arguments, variables, log.parent, output, output)


def _execute(arguments: list[str], variables: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        files = {"stdout": output, "stderr": output}
        return subprocess.Popen([COMMAND, *arguments], env=variables, cwd=log.parent, start_new_session=True, **files)


def _await_health(server: Server) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            if requests.get(f"{server.base_url}/health", timeout=1).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.05)
    raise AssertionError(f"the server did not start; its log:\n{server.log.read_text()}")
