"""`yardmaster serve --reload`: workers that load the code anew, and an eye on the files it is in."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from pathlib import Path

import watchfiles

from app.cli.supervisor import work
from app.server.worker import run

ROOT = Path(__file__).parents[2]
WATCHED = tuple(ROOT / name for name in ("app", "handlers", "models", "openapi"))
SUFFIXES = (".py", ".yaml", ".json")


def spawn(listener: socket.socket) -> int:
    """A worker that shares nothing with this process but the socket; its process id."""
    listener.set_inheritable(True)
    command = [sys.executable, "-m", "app.cli.reloading", str(listener.fileno())]
    return os.posix_spawn(sys.executable, command, os.environ)


def watch() -> None:
    """Ask this process for fresh workers (SIGHUP) whenever the code changes."""
    threading.Thread(target=_watch, name="reload", daemon=True).start()


def _watch() -> None:
    for _ in watchfiles.watch(*WATCHED, watch_filter=_is_code):
        os.kill(os.getpid(), signal.SIGHUP)


def _is_code(_change: watchfiles.Change, path: str) -> bool:
    return path.endswith(SUFFIXES)


if __name__ == "__main__":
    run(work(), socket.socket(fileno=int(sys.argv[1])))
