"""Our command as a process, forked from one that has loaded everything: a server is there in a third of the time.

What is loaded is the same, and so is all that happens afterwards. Where the start itself is at stake (its imports, its
memory, its console script), a test starts `support.servers.COMMAND` instead.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Final

PR_SET_CHILD_SUBREAPER: Final = 36
SCRIPT = Path(__file__).with_name("forkserver.py")


class Process:
    """A process as `subprocess.Popen` would show it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._waited(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code; TimeoutExpired when it still runs after so many seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self._waited(0 if deadline is None else os.WNOHANG)) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("yardmaster", timeout or 0)
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        """A signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _waited(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


def start(
    arguments: Sequence[str | Path], variables: Mapping[str, str], folder: Path, out: IO[bytes], err: IO[bytes]
) -> Process:
    """`yardmaster` with these arguments and this environment, in a session of its own."""
    told = {"arguments": ["yardmaster", *map(str, arguments)], "variables": dict(variables), "folder": str(folder)}
    _, server = _forkserver(os.getpid())
    socket.send_fds(server, [json.dumps(told).encode()], [out.fileno(), err.fileno()])
    return Process(int(server.recv(20)))


def run(
    arguments: Sequence[str | Path], variables: Mapping[str, str], folder: Path, timeout: float = 90
) -> subprocess.CompletedProcess[str]:
    """What `yardmaster` with these arguments says, and its exit code."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = start(arguments, variables, folder, out, err).wait(timeout)
        said = [file.read().decode() for file in (out, err) if not file.seek(0)]
    return subprocess.CompletedProcess(arguments, code, *said)


@cache
def _forkserver(_pid: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """This process's own, and the socket to it; it ends when we do. What it starts becomes our child."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        number = theirs.fileno()
        started = subprocess.Popen([sys.executable, SCRIPT, str(number)], pass_fds=[number], cwd="/")
    atexit.register(_end, started, ours)
    return started, ours


def _end(started: subprocess.Popen[bytes], ours: socket.socket) -> None:
    ours.close()
    started.wait()
