"""A worker process: the application behind one HTTP server, on a socket it shares with the other workers."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

import uvicorn

from app.server.protocol import Protocol

if TYPE_CHECKING:
    from app.factory import Application

DRAIN_S = 30
KEEP_ALIVE_S = 75
BACKLOG = 2048


def bind(host: str, port: int) -> socket.socket:
    """The socket that all workers accept from: what waits in it outlives any of them.

    Only bound: callers are refused until the first worker is ready, and need not wait for one that never will be.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


def run(application: Application, listener: socket.socket) -> None:
    """Answer requests until SIGTERM, then finish those begun, for 30 s at most; ends by that signal."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what strangers send is no fault of the server
    config = uvicorn.Config(
        application,
        http=Protocol,
        ws="none",
        loop="uvloop",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    uvicorn.Server(config).run([listener])
