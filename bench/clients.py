"""Compares HTTP clients a Python gateway could call its upstream with: throughput, CPU, latency, streams, cancelling.

Every client runs in this one process and event loop (uvloop) against bench.upstream in another; rounds alternate the
order, so that drift of a shared machine falls on all alike. `raw` is a hand-written Protocol: the floor, not a choice.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections import defaultdict
from contextlib import aclosing
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import orjson
import uvloop

from bench.adapters import CLIENTS, Client
from bench.http1 import Wire, connect, render
from bench.peers import start_upstream

if TYPE_CHECKING:
    from bench.processes import Server

CONNECTIONS = 32
PATIENCE = 3.0
PACKAGES = ("uvloop", "pyreqwest", "aiohttp", "httpx")


class Throughput(NamedTuple):
    """Requests per second, and microseconds of CPU a request cost: on the loop's thread, and in the whole process."""

    rate: float
    loop_us: float
    process_us: float


async def throughput(client: Client, url: str, seconds: float) -> Throughput:
    """Load at CONNECTIONS tasks for some seconds."""
    done, deadline = 0, time.perf_counter() + seconds

    async def work() -> None:
        nonlocal done
        while time.perf_counter() < deadline:
            await client.post(url)
            done += 1

    began, thread, process = time.perf_counter(), time.thread_time(), time.process_time()
    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    took = time.perf_counter() - began
    loop, whole = time.thread_time() - thread, time.process_time() - process
    return Throughput(done / took, loop / done * 1e6, whole / done * 1e6)


async def latency(client: Client, url: str, count: int) -> tuple[float, float]:
    """p50 and p99 in milliseconds at one request at a time."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await client.post(url)
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times), statistics.quantiles(times, n=100)[98]


class Streams(NamedTuple):
    """Of concurrent streams: those which ended with [DONE], pieces per stream, ms to the first, loop CPU per stream."""

    whole: int
    pieces: float
    first_p50_ms: float
    first_p99_ms: float
    loop_us: float


async def streams(client: Client, url: str, count: int) -> Streams:
    """Open `count` streams at once and read them to the end."""

    async def read() -> tuple[float, int, bytes]:
        began, first, pieces, data = time.perf_counter(), 0.0, 0, b""
        async for piece in client.stream(url):
            first = first or time.perf_counter() - began
            pieces += 1
            data += piece
        return first * 1e3, pieces, data

    thread = time.thread_time()
    results = await asyncio.gather(*(read() for _ in range(count)))
    loop = time.thread_time() - thread
    firsts = [first for first, _, _ in results]
    whole = sum(data.endswith(b"data: [DONE]\n\n") for _, _, data in results)
    pieces = statistics.mean(pieces for _, pieces, _ in results)
    return Streams(
        whole, pieces, statistics.median(firsts), statistics.quantiles(firsts, n=100)[98], loop / count * 1e6
    )


async def cut_after(server: Server, before: int, began: float) -> float:
    """Milliseconds until the upstream noticed one more cut stream, watched from another connection; inf if never."""
    watcher = await connect(server.url, Wire)
    request = render(f"{server.url}/stats", {}, method="GET")
    try:
        while time.perf_counter() - began < PATIENCE:
            if await cuts(watcher, request) > before:
                return (time.perf_counter() - began) * 1e3
            await asyncio.sleep(0.0005)
    finally:
        watcher.transport.close()
    return float("inf")


async def cuts(watcher: Wire, request: bytes) -> int:
    """The upstream's count of streams which their client cut."""
    watcher.send(request)
    data = b""
    while (piece := await watcher.piece()) is not None:
        data += piece
    return int(orjson.loads(data)["streams_cut"])


async def closing(client: Client, server: Server, url: str, *, cancel: bool) -> float:
    """Milliseconds from leaving a half-read stream (or cancelling its task) to the upstream seeing the socket close."""
    watcher = await connect(server.url, Wire)
    before = await cuts(watcher, render(f"{server.url}/stats", {}, method="GET"))
    watcher.transport.close()
    opened = asyncio.Event()

    async def read() -> None:
        async with aclosing(client.stream(url)) as pieces:
            async for _ in pieces:
                opened.set()
                if not cancel:
                    break

    task = asyncio.create_task(read())
    await opened.wait()
    began = time.perf_counter()
    if cancel:
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return await cut_after(server, before, began)


async def compare(server: Server, slow: Server, rounds: int, seconds: float) -> None:
    """Print every comparison as it is made."""
    url, slow_url = (f"{each.url}/v1/chat/completions" for each in (server, slow))
    clients = {name: build() for name, build in CLIENTS.items()}
    for client in clients.values():
        await throughput(client, url, 0.3)
    await print_throughput(clients, url, rounds, seconds)
    for name, client in clients.items():
        p50, p99 = await latency(client, url, 2000)
        print(f"latency    {name:13} p50 {p50:.3f} ms  p99 {p99:.3f} ms")
    for name, client in clients.items():
        print(f"streams    {name:13} {(await streams(client, slow_url, 128))}")
    for name, client in clients.items():
        times = [await closing(client, slow, slow_url, cancel=cancel) for cancel in (False, True)]
        print(f"closing    {name:13} early exit {times[0]:.1f} ms, task.cancel() {times[1]:.1f} ms")
    for client in clients.values():
        await client.close()


async def print_throughput(clients: dict[str, Client], url: str, rounds: int, seconds: float) -> None:
    """Alternate the clients, forwards and backwards, then print the medians."""
    seen: defaultdict[str, list[Throughput]] = defaultdict(list)
    for turn in range(rounds):
        for name in list(clients)[:: 1 if turn % 2 == 0 else -1]:
            seen[name].append(await throughput(clients[name], url, seconds))
            print(f"round {turn + 1}    {name:13} {seen[name][-1].rate:8.0f} req/s", flush=True)
    for name, results in seen.items():
        rate, loop, process = (statistics.median(column) for column in zip(*results, strict=True))
        print(f"throughput {name:13} {rate:8.0f} req/s  CPU {loop:.0f} us on the loop, {process:.0f} us in the process")


def main() -> None:
    """Parse the command line, start two upstreams (one slow), compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    print(", ".join([f"python {sys.version.split()[0]}", *(f"{name} {version(name)}" for name in PACKAGES)]))
    with TemporaryDirectory() as directory:
        fast = start_upstream(Path(directory), "fast").server
        slow = start_upstream(Path(directory), "slow", interval_ms=10).server
        try:
            uvloop.run(compare(fast, slow, args.rounds, args.seconds))
        finally:
            fast.stop()
            slow.stop()


if __name__ == "__main__":
    main()
