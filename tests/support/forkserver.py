"""A process that has loaded what the command loads, and becomes the command in each of its forks.

Run as a script with the number of a socket: each message on it is a command to become, with the files it writes to,
and is answered with the process id.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

# Not `app.cli.supervisor`: the memory it shares with what is forked after it is meant for the processes of one server.
LOADED = (
    "app.agent.agent",
    "app.factory",
    "app.server.master",
    "app.server.worker",
    "app.services.bootstrap",
    "models.migrations.applying",
)
MOST_BYTES = 1 << 20


def load() -> None:
    """Everything a server imports."""
    gc.disable()
    for name in LOADED:
        import_module(name)
    for module in walk_packages(import_module("handlers").__path__, "handlers."):
        import_module(module.name)
    gc.freeze()
    gc.enable()


def forked(asked: socket.socket) -> None:
    """Fork for each command that is asked for; returns in the fork alone, as the command."""
    while True:
        message, files, *_ = socket.recv_fds(asked, MOST_BYTES, 2)
        if not message:
            sys.exit()
        pid = fork_twice()
        if not pid:
            asked.close()
            return become(json.loads(message), files)
        for number in files:
            os.close(number)
        asked.sendall(str(pid).encode())


def fork_twice() -> int:
    """The process id of a fork, which is not our child: whoever started us waits for it. 0 in the fork."""
    reading, writing = os.pipe()
    between = os.fork()
    if between == 0:
        if os.fork():
            os._exit(0)
        os.write(writing, str(os.getpid()).encode())
    else:
        os.waitpid(between, 0)
    os.close(writing)
    pid = int(os.read(reading, 20)) if between else 0
    os.close(reading)
    return pid


def become(told: dict[str, Any], files: list[int]) -> None:
    """Take on the arguments, the environment, the folder and the files of a command."""
    os.setsid()
    os.chdir(told["folder"])
    os.environ.clear()
    os.environ.update(told["variables"])
    sys.argv[:] = told["arguments"]
    for number, file in enumerate(files, start=1):
        os.dup2(file, number)
        os.close(file)


if __name__ == "__main__":
    load()
    forked(socket.socket(fileno=int(sys.argv[1])))
    from app.cli import main

    sys.exit(main())
