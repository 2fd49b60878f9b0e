"""The least an ASGI server can cost: apps which do next to nothing, under one server program and another.

`echo` reads the body and answers 500 bytes; `spare` answers without reading; `drip` sends its 500 bytes in 51 pieces,
so that their differences price one `receive()` and one `send()`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.processes import ROOT, free_port, spawn

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PAYLOAD = b'{"answer":"' + b"x" * 487 + b'"}'
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"500")],
}
END = {"type": "http.response.body", "body": PAYLOAD, "more_body": False}
DROP = {"type": "http.response.body", "body": PAYLOAD[:10], "more_body": True}
LAST = {"type": "http.response.body", "body": b"", "more_body": False}


async def lifespan(receive: Receive, send: Send) -> None:
    """Agree to start and to stop."""
    for stage in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{stage}.complete"})


async def echo(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Read the whole body, then answer 500 bytes."""
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    while (await receive()).get("more_body"):
        pass
    await send(START)
    return await send(END)


async def spare(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer 500 bytes at once."""
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    await send(START)
    return await send(END)


async def drip(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Read the whole body, then answer 500 bytes ten at a time."""
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    while (await receive()).get("more_body"):
        pass
    await send(START)
    for _ in range(50):
        await send(DROP)
    return await send(LAST)


# Servers by what starts one worker of it; a granian is only measured where it is installed.
VARIANTS: dict[str, tuple[str, ...]] = {
    "uvicorn": ("uvicorn", "--http", "httptools", "--loop", "uvloop", "--no-access-log", "--log-level", "warning"),
    "granian st": ("granian", "--interface", "asgi", "--loop", "uvloop", "--http", "1", "--runtime-mode", "st"),
    "granian mt": ("granian", "--interface", "asgi", "--loop", "uvloop", "--http", "1", "--runtime-mode", "mt"),
}


def measure(app: str, options: tuple[str, ...], seconds: int) -> str:
    """One server under wrk: its RESULT, or why it did not start."""
    port = free_port()
    command = [sys.executable, "-m", *options, "--workers", "1", "--port", str(port), f"bench.floor:{app}"]
    with TemporaryDirectory() as directory:
        try:
            server = spawn(options[0], command, port, Path(directory) / "log").ready("/", 15)
        except RuntimeError as problem:
            return str(problem).splitlines()[-1]
        try:
            return load(server.url, seconds)
        finally:
            server.stop()


def load(url: str, seconds: int) -> str:
    """The rate and latency wrk saw at 32 connections."""
    script = str(ROOT / "bench" / "chat.lua")
    command = ["wrk", "-t1", "-c32", f"-d{seconds}s", "-s", script, url]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 20).stdout
    seen = json.loads(out.split("RESULT ")[1].splitlines()[0])
    bad, rate = seen["bad"] + seen["socket_errors"] + seen["timeouts"], seen["ok"] / seen["seconds"]
    return f"{rate:8.0f} req/s  p50 {seen['p50_ms']:.2f} ms  p99 {seen['p99_ms']:.2f} ms  bad {bad}"


def main() -> None:
    """Measure every app under every server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3)
    args = parser.parse_args()
    for name, options in VARIANTS.items():
        for app in ("echo", "spare", "drip"):
            print(f"{name:24} {app:6} {measure(app, options, args.seconds)}", flush=True)


if __name__ == "__main__":
    main()
